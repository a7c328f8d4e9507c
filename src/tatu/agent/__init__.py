"""What runs on hosts: enrols them once, and keeps their sshd in step with its authority.

Python 3.9 and the standard library; all cryptography but HMAC and SHA-256 is
OpenSSH's own programs'.
"""

VERSION = "0.1.0"
