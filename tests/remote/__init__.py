"""Tests of tasks/remote/: servers of the test's own on loopback, and the real sshd where it is there."""
