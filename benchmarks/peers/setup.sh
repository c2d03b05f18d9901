#!/bin/sh
# Make the environments in which headstart's peers run: FOLDER/main, and FOLDER/thingsvision, whose pins are its own.
#
#     benchmarks/peers/setup.sh FOLDER [main|thingsvision ...]
#
# About 13 GB and 5 to 15 minutes. What is made already is brought up to date, so an interrupted run can be repeated.
# PYTHON names another Python than python3.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}

if [ $# -lt 1 ]; then
    echo "usage: $0 FOLDER [main|thingsvision ...]" >&2
    exit 2
fi
folder=$1
shift
[ $# -gt 0 ] || set -- main thingsvision

make_environment() {
    test -x "$folder/$1/bin/python" || "$python" -m venv "$folder/$1"
}

pip_install() {
    environment=$1
    shift
    "$folder/$environment/bin/python" -m pip --disable-pip-version-check install --progress-bar off "$@"
}

for environment in "$@"; do
    case $environment in
    main)
        make_environment main
        # Alone first: what follows then keeps this torch instead of looking for another.
        pip_install main torch torchvision timm
        pip_install main -r "$here/requirements.txt"
        ;;
    thingsvision)
        make_environment thingsvision
        pip_install thingsvision -r "$here/requirements-thingsvision.txt"
        ;;
    *)
        echo "$environment: no such environment; there are main and thingsvision" >&2
        exit 2
        ;;
    esac
done
