"""Commands of the network: up, down, status, wait, logs, env."""
