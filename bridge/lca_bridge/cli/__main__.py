"""``python -m lca_bridge.cli`` is ``lca``."""

from lca_bridge.cli.main import main

raise SystemExit(main())
