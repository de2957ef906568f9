#!/bin/sh
# tox 4.67.15: a section for one environment decides whether tox finds quite another one.
#
# Belief: the section [testenv:browser-django52] adds an environment. What [testenv] makes of the factors django52 and psycopg2,
# as in "tox -e py-django52-psycopg2", stays as it was.
# Seen: with that section tox says that py-django52-psycopg2 is not in the configuration. With a section [testenv:browser-oldest]
# in its place it is found. So a section must not have a factor in its name that [testenv] uses.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu

TOX=4.67.15

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "tox==$TOX"
"$work/venv/bin/tox" --version | cut -d ' ' -f 1

# Whether tox finds the environment, where the section has this name.
finds() {
    mkdir -p "$work/$1"
    cat > "$work/$1/tox.ini" <<INI
[tox]
env_list = py

[testenv]
skip_install = true
deps =
    django52: django<5.3
    psycopg2: psycopg2-binary

[testenv:$1]
skip_install = true
INI
    if "$work/venv/bin/tox" config -c "$work/$1/tox.ini" -e py-django52-psycopg2 -k deps >"$work/$1/out" 2>&1; then
        echo "with [testenv:$1]: found"
    else
        echo "with [testenv:$1]: $(tr '\n' ' ' <"$work/$1/out")"
        return 1
    fi
}

finds browser-oldest || exit 1
if finds browser-django52; then exit 1; fi
