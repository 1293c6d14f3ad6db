"""Tests of the dev container, in a container engine; `inv test --containers` runs them."""
