"""Tests of the programs: pins, download, build, and that no half-done install is ever used."""
