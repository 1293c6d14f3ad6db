"""Invoke's entry point: which namespaces exist. The commands live in the folder `tasks/` beside this file."""

import atexit
import gc
import sys

# Invoke loads this file as the module `tasks`; with a path it is the package as well.
__path__ = [__file__.removesuffix(".py")]
# Invoke forbids bytecode, which would compile every module again at every run.
sys.dont_write_bytecode = False
# Python would search all that was imported for garbage before it ends: 25 to 55 ms of every command, for nothing.
atexit.register(gc.freeze)

from invoke.collection import Collection  # noqa: E402

from tasks import demo, development, doctor, lab, net, programs, remote, vault  # noqa: E402

namespace = Collection(net, vault, remote, lab, programs)
for command in (demo.demo, doctor.doctor, development.test, development.lint, development.relock, development.bench):
    namespace.add_task(command)
