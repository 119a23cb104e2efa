#!/usr/bin/env bash
# Blender's Python module needs a few X11/GL runtime libraries. On Debian-like systems install the missing ones
# (as root, or through sudo without a password); otherwise say what is missing and go on: only Blender parts need them.
set -u
declare -A packages=(
  [libXi.so.6]=libxi6 [libXxf86vm.so.1]=libxxf86vm1 [libXfixes.so.3]=libxfixes3 [libXrender.so.1]=libxrender1
  [libGL.so.1]=libgl1 [libxkbcommon.so.0]=libxkbcommon0 [libSM.so.6]=libsm6 [libEGL.so.1]=libegl1
)
[ "$(uname -s)" = Linux ] || exit 0
missing=()
known=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
for library in "${!packages[@]}"; do
  case "$known" in *"$library"*) ;; *) missing+=("${packages[$library]}") ;; esac
done
[ ${#missing[@]} -eq 0 ] && exit 0
run=()
if [ "$(id -u)" -ne 0 ]; then
  if sudo -n true 2>/dev/null; then run=(sudo -n); else
    echo "Missing libraries for Blender; install them with: sudo apt-get install ${missing[*]}" >&2; exit 0
  fi
fi
if command -v apt-get >/dev/null; then
  "${run[@]}" apt-get -qq update >/dev/null
  DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "Missing libraries for Blender (Debian names): ${missing[*]}" >&2
fi
exit 0
