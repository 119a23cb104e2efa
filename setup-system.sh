#!/usr/bin/env bash
# Blender's Python module needs a few X11/GL runtime libraries. On Debian-like systems install the missing ones
# (as root, or through sudo without a password); otherwise say what is missing and go on: only Blender parts need them.
# As root it also installs a headless Chromium, for tests alone.
set -u
declare -A packages=(
  [libXi.so.6]=libxi6 [libXxf86vm.so.1]=libxxf86vm1 [libXfixes.so.3]=libxfixes3 [libXrender.so.1]=libxrender1
  [libGL.so.1]=libgl1 [libxkbcommon.so.0]=libxkbcommon0 [libSM.so.6]=libsm6 [libEGL.so.1]=libegl1
)
[ "$(uname -s)" = Linux ] || exit 0
missing=()
# The tests of the browser viewer drive a headless Chromium; without one they are skipped.
browser=chromium-headless-shell
if [ -z "${LCA_CHROMIUM:-}" ] && command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
  found=no
  for name in $browser chromium chromium-browser google-chrome chrome; do
    if command -v "$name" >/dev/null; then found=yes; fi
  done
  if [ $found = no ]; then
    apt-get -qq update >/dev/null && DEBIAN_FRONTEND=noninteractive \
      apt-get -qq install -y --no-install-recommends $browser >/dev/null 2>&1 || echo "No $browser here." >&2
  fi
fi
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
