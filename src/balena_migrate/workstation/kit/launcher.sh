#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Starts the kit's Python through the kit's own loader; nothing of the device's libraries and settings gets in.
self=$0
case $self in
*/*) ;;
*) self=./$self ;;
esac
while [ -L "$self" ]; do
    target=$(readlink "$self") || exit
    case $target in
    /*) self=$target ;;
    *) self=${self%/*}/$target ;;
    esac
done
kit=$(cd "${self%/*}/" && pwd -P) || exit
base=$kit/base

unset LD_PRELOAD
# glibc would load converters for the device's locale that were made for another libc, and OpenSSL its settings.
LC_ALL=C.UTF-8
OPENSSL_CONF=$kit/more/ssl/openssl.cnf
: "${SSL_CERT_FILE:=$kit/more/ssl/ca-certificates.crt}"
export LC_ALL OPENSSL_CONF SSL_CERT_FILE

exec "$base/ld.so" --inhibit-cache --argv0 "$base/bin/python3" --library-path "$base/lib:$kit/more/lib" \
    "$base/bin/python3" -I -S -X utf8 "$kit/more/start.py" "${self##*/}" "$@"
