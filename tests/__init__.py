"""The tests: mirrors `tasks/`; fakes are programs (`bin/`) and servers, never patched functions."""
