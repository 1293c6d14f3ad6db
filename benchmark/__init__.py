"""What `inv bench` measures: the suite beside other programs, on a lab of its own, interleaved in one run."""
