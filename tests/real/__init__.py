"""Tests of the whole product on the real programs: tailscaled, headscale, sshd."""
