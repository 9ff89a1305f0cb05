# Durations, sizes and shares of CPU as users write them, as numbers. The grammar is that of
# reconciler/core/src/units.rs; what it refuses is null here.
{ lib }:
let
  inherit (builtins) isInt isString match;

  # Larger than every bound, and small enough to be multiplied without an overflow.
  beyond = 4611686018427387904;

  # `digits` in units of `scale`; a number that would overflow counts as `beyond`.
  scaled =
    digits: scale:
    let
      significant = builtins.head (match "0*([0-9]*)" digits);
      number = if significant == "" then 0 else lib.toInt significant;
    in
    if builtins.stringLength significant > 18 || number > beyond / scale then
      beyond
    else
      number * scale;

  sum = builtins.foldl' (total: part: lib.min beyond (total + part)) 0;

  durationUnits = [
    86400000
    3600000
    60000
    1000
    1
  ];
  sizeUnits = rec {
    k = 1000;
    M = 1000 * k;
    G = 1000 * M;
    T = 1000 * G;
    Ki = 1024;
    Mi = 1024 * Ki;
    Gi = 1024 * Mi;
    Ti = 1024 * Gi;
  };
in
rec {
  durationPattern = "0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?";
  sizePattern = "[0-9]+(k|M|G|T|Ki|Mi|Gi|Ti)?";
  percentPattern = "[0-9]+%";

  # Milliseconds: "1h30m" is 5400000.
  milliseconds =
    text:
    let
      terms = match "(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?" text;
      digits = map (index: builtins.elemAt terms index) [ 1 3 5 7 9 ];
      parts = lib.zipListsWith (
        number: scale: if number == null then 0 else scaled number scale
      ) digits durationUnits;
    in
    if !isString text || text == "" then null
    else if text == "0" then 0
    else if terms == null then null
    else sum parts;

  # Bytes: "512Mi", or a number as it is.
  bytes =
    value:
    let
      parts = match "([0-9]+)(.*)" value;
      unit = builtins.elemAt parts 1;
    in
    if isInt value then value
    else if !isString value || match sizePattern value == null then null
    else scaled (builtins.head parts) (if unit == "" then 1 else sizeUnits.${unit});

  # Percent of one CPU: "150%" is 150.
  percent =
    text:
    let
      parts = match "([0-9]+)%" text;
    in
    if !isString text || parts == null then null else scaled (builtins.head parts) 1;
}
