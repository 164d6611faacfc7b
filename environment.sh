# Sourced by run.sh and test.sh: makes .venv with the pinned packages of requirements/$1.txt, if it is not
# there as it should be. Set PYTHON to choose the interpreter it is made with.

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or later found; install one, or set PYTHON to its path" >&2
  return 1
}

set_up_environment() {
  local requirements="requirements/$1.txt" python wanted
  if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python="$(find_python)"
    echo "Making .venv with $("$python" --version)" >&2
    if ! "$python" -m venv --clear .venv; then
      echo "error: this Python cannot make virtual environments; on Debian: apt install python3-venv" >&2
      return 1
    fi
  fi
  wanted="$(cat "$requirements" setup.cfg; .venv/bin/python --version)"
  if [ "$(cat ".venv/installed-$1" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing the packages of $requirements (about a minute, once)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
    echo "$wanted" > ".venv/installed-$1"
  fi
}

set_up_environment "$1"
