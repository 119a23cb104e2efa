# Two commands do everything: `make demo` and `make test`. Each sets up what it needs first.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
OUT    ?= out/demo
CLIP   ?=
export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo test test-faults test-ray test-soak lint bench addon web test-blender clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt Makefile setup-system.sh
	bash setup-system.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,smplx]'
	$(BIN)/lca warmup
	touch $(STAMP)

demo: setup
	$(BIN)/lca demo --out $(OUT) $(if $(CLIP),--clip $(CLIP))

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=blender_addon $(BIN)/mypy --explicit-package-bases blender_addon/*.py blender_addon/lca_avatars

test: lint
	$(BIN)/python -m pytest -q

# Every fault of the list, sixty kills, a thousand damaged clips, ten thousand hostile messages per call; 20 minutes.
test-faults: setup
	$(BIN)/python -m pytest -q -s -m "faults or not faults" tests/faults tests/bridge/test_fuzz.py

# The contract of executors on a real Ray that can reach nothing beyond this machine; .venv-ray uses .venv's packages.
test-ray: setup .venv-ray/.ready
	bash tests/faults/loopback.sh .venv-ray/bin/python -m pytest -q tests/faults/test_executors.py -k ray

.venv-ray/.ready:
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/pip install --quiet --disable-pip-version-check "ray>=2.40"
	echo "import site; site.addsitedir('$(CURDIR)/$(VENV)/lib/$(notdir $(PYTHON))/site-packages')" \
	  > .venv-ray/lib/$(notdir $(PYTHON))/site-packages/base.pth
	touch .venv-ray/.ready

# One minute of streams, creations and imports at once; numbers as JSON.
test-soak: setup
	$(BIN)/lca bench soak --json

bench: setup
	$(BIN)/lca bench splat

addon: setup
	$(BIN)/python blender_addon/build_addon.py

# The browser viewer, rebuilt from web/ (needs node 20 and npm); its result is committed, so nobody else has to.
web:
	cd web && npm ci --no-audit --no-fund && npm run build

# Blender 4.5 LTS, 5.0 and 5.2 LTS (Python 3.13), each with the zip a user gets; makes .venv-bpy45 and .venv-bpy52.
test-blender: setup
	$(BIN)/python tests/blender/versions.py $(BLENDERS)

clean:
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache
