"""The sub-commands of ``chattts``, one file each: ``add_arguments(parser)`` and ``run(args) -> exit code``."""
