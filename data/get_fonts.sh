#!/bin/sh
# Fetches the Debian packages of the faces in faces.txt.
#   get_fonts.sh [KEY...]            installs them with apt-get (as root)
#   get_fonts.sh --to DIR [KEY...]   downloads and unpacks them into DIR (any user); then: hanglyph --font-root DIR
# KEY is a face of faces.txt; without one, the packages of all faces: about 300 MB of download.
set -eu

usage() {
    echo "usage: $0 [--to DIR] [FACE...]" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
faces=$here/faces.txt
into=
case ${1-} in
--to)
    into=${2-}
    [ -n "$into" ] || usage
    shift 2
    ;;
-*) usage ;;
esac

packages=
if [ $# -eq 0 ]; then
    packages=$(awk '!/^#/ && NF { print $2 }' "$faces" | sort -u)
else
    for key; do
        package=$(awk -v key="$key" '$1 == key { print $2 }' "$faces")
        [ -n "$package" ] || { echo "$0: no face '$key' in $faces" >&2; exit 2; }
        packages="$packages $package"
    done
    packages=$(printf '%s\n' $packages | sort -u)
fi

if [ -z "$into" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "$0: installing needs root; as another user: $0 --to DIR" >&2; exit 1; }
    echo "installing" $packages
    exec apt-get install -y --no-install-recommends $packages
fi

mkdir -p "$into"
into=$(cd "$into" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for package in $packages; do
    echo "$package"
    rm -f "$work"/*.deb
    (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$package")
    dpkg-deb -x "$work"/"$package"_*.deb "$into"
done
echo "unpacked into $into; use: hanglyph --font-root $into"
