"""Tests of tasks/lab/."""
