"""Tests of tasks/net/."""
