"""SSH as a service for clouds."""
