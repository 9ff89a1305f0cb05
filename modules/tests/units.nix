# Durations and sizes are read as the program reads them (core/src/units.rs has the same cases).
{ is, lib }:
let
  units = import ../fields/units.nix { inherit lib; };
in
{
  "durations are sums of falling units" = is [ 500 15000 5400000 0 0 60001 172800000 ] (
    map units.milliseconds [ "500ms" "15s" "1h30m" "0" "0s" "1m1ms" "2d" ]
  );
  "what is no duration is null" = is (lib.genList (_: null) 10) (
    map units.milliseconds [ "" "5" "s" "5 s" "1.5s" "-1s" "1m1m" "1s1m" "1x" "5sec" ]
  );
  "sizes are bytes or quantities" = is [ 536870912 1000000000 17 17 8 ] (
    map units.bytes [ "512Mi" "1G" "17" 17 "008" ]
  );
  "what is no size is null" = is (lib.genList (_: null) 5) (map units.bytes [ "" "Mi" "1.5Gi" "1gb" "-1" ]);
  "shares are percent of one CPU" = is [ 150 null null ] (map units.percent [ "150%" "1" "1.5%" ]);
  "what is beyond every bound does not wrap around" = is [ true true ] [
    (units.milliseconds "99999999999999999h" > units.milliseconds "365d")
    (units.bytes "99999999999999999999Ti" > units.bytes "1024Ti")
  ];
}
