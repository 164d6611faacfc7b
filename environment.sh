# run.sh and test.sh source this file in the project's folder. It makes .venv, unless there is one, and installs the
# pinned packages of requirements/$1.txt, unless they are there. Set PYTHON to choose the interpreter.

# Python keeps its bytecode in .venv, even for users who turn bytecode off: without it every script starts some
# seconds later.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$PWD/.venv/bytecode"

is_recent_python() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

make_environment() {
  local python
  for python in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
    if is_recent_python "$python"; then
      echo "Making .venv with $("$python" --version)" >&2
      "$python" -m venv .venv && return
      rm -rf .venv
      echo "error: $python cannot make virtual environments; on Debian: apt install python3-venv" >&2
      return 1
    fi
  done
  echo "error: no Python 3.11 or later found; install one, or set PYTHON to its path" >&2
  return 1
}

install_packages() {
  local requirements="requirements/$1.txt" wanted
  wanted="$(cat "$requirements" pyproject.toml setup.cfg; .venv/bin/python --version; pwd)"
  if [ "$(cat ".venv/installed-$1" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing the packages of $requirements (about a minute, once)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps -e .
    echo "$wanted" > ".venv/installed-$1"
  fi
}

if [ ! -e .venv ]; then
  make_environment
elif ! { is_recent_python .venv/bin/python && .venv/bin/python -m pip --version > /dev/null 2>&1; }; then
  echo "error: $(pwd)/.venv has no Python 3.11 or later with pip; remove it and run this again" >&2
  exit 1
fi
install_packages "$1"
