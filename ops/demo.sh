#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A whole deployment on loopback, driven, changed, hurt and then counted: see demo.py. Usage: demo.sh BUILD
set -eu
exec python3 "$(dirname "$0")/demo.py" "${1:-build}"
