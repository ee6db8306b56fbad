# make demo   upscale the bundled image and write result, picture and report to demo/
# make test   style, types, import contracts and tests
# make test-all   the same, with the tests that take minutes
# make clean  remove what the two have made
#
# Needed: Python >= 3.11, make, git. Debian packages that are missing are installed
# when run as root, and named otherwise.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Debian packages that the tests need beside Python's own: Xvfb, and what the wheels of
# PyQt6 expect of the system.
SYSTEM_PACKAGES := xvfb xauth libegl1 libgl1 libdbus-1-3 libfontconfig1 libglib2.0-0 \
  libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 \
  libxcb-randr0 libxcb-render-util0 libxcb-shape0

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help demo test test-all clean python system

help:
	@sed -n '/^# make/s/^# //p' Makefile

demo: .venv/.ready
	@.venv/bin/napari-zssr demo --output-dir demo/

test-all: TOX_ARGUMENTS := -- --slow
test-all: test

test: system .venv-tox/.ready
	@mkdir -p .tox
	if NO_COLOR=1 .venv-tox/bin/tox run $(TOX_ARGUMENTS) 2>&1 | tee .tox/last.log; then
	  verdict="make test: passed"; status=0
	else
	  verdict="make test: FAILED, see above"; status=1
	fi
	echo "$$verdict"
	grep -aE '^=+ .* in [0-9.]+s.* =+$$' .tox/last.log | tail -n 1 || true
	exit $$status

clean:
	rm -rf .venv .venv-tox .tox demo build dist site .mypy_cache .pytest_cache \
	  .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready: pyproject.toml constraints.txt | python
	@echo "Setting up .venv (torch is large: this takes a minute or more)"
	"$(PYTHON)" -m venv .venv
	.venv/bin/python -m pip install --quiet --quiet -c constraints.txt -e .
	touch $@

.venv-tox/.ready: | python
	@echo "Setting up tox in .venv-tox"
	"$(PYTHON)" -m venv .venv-tox
	.venv-tox/bin/python -m pip install --quiet --quiet 'tox>=4.28'
	touch $@

python:
	@if ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	  echo "Python 3.11 or newer is missing: apt-get install python3" >&2
	  exit 1
	fi
	if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then
	  version=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	  $(call install,python$$version-venv)
	fi

system:
	@missing=
	if command -v dpkg-query >/dev/null; then
	  # Newer releases have renamed some; the new ones provide the old name.
	  there=$$(dpkg-query -W -f='$${db:Status-Status} $${Package} $${Provides}\n' \
	    | sed -n 's/^installed//p' | tr ' ,' '\n\n')
	  for package in $(SYSTEM_PACKAGES); do
	    grep -qxF "$$package" <<<"$$there" || missing="$$missing $$package"
	  done
	fi
	if [ -n "$$missing" ]; then $(call install,$$missing); fi

define install
if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Missing system packages; as root: apt-get install $(1)" >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1)
endef
