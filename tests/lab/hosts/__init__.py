"""Real hosts on this machine: systemd as PID 1 in a container, with a network namespace of its own."""
