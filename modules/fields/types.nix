# The types of a manifest's values: the same words, units and bounds as the program's own decoder
# (reconciler/core/src/spec/decode, and limits.rs for the bounds).
#
# Each carries `schema`, its JSON Schema; `x-osmoda` in it holds what JSON Schema has no word for.
# Types that hold other types are made here too, so that no schema is ever guessed from a type.
{ lib }:
let
  inherit (builtins) isAttrs isFloat isInt isString match stringLength;
  inherit (lib) types;
  units = import ./units.nix { inherit lib; };

  # A value without parts. `schema` may be what else than a type and a description it has.
  scalar =
    { name, description, check, schema }:
    lib.mkOptionType {
      inherit name description check;
      descriptionClass = "noun";
      merge = lib.options.mergeEqualOption;
    }
    // {
      inherit schema;
    };

  with' = type: schema: type // { inherit schema; };

  # A string that matches; no string that may be a secret is ever shown by an error of ours.
  text =
    { name, description, pattern, most ? 131071 }:
    scalar {
      inherit name description;
      check = value: isString value && stringLength value <= most && match pattern value != null;
      schema = {
        type = "string";
        pattern = "^(${pattern})$";
        maxLength = most;
      };
    };

  # A quantity with a unit. `read` gives a number or null, `least` and `most` are as users write.
  quantity =
    { name, noun, example, read, pattern, schemaType ? { type = "string"; } }:
    least: most:
    scalar {
      inherit name;
      description = "${noun} such as \"${example}\", from ${least} to ${most}";
      check =
        value:
        let
          number = read value;
        in
        number != null && number >= read least && number <= read most;
      schema = schemaType // {
        minLength = 1;
        pattern = "^(${pattern})$";
        x-osmoda = {
          unit = name;
          inherit least most;
        };
      };
    };

  # Text that came from a path of the Nix language, or is one, names a copy in the store.
  outsideStore =
    value: isString value && builtins.getContext value == { } && !lib.hasPrefix "${builtins.storeDir}/" value;

  agentNamePattern = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
in
rec {
  inherit (units) milliseconds bytes;

  # Whether Nix would take `text` for a generation of a profile: name.rs, is_generation_link.
  isGenerationLink = text: match ".*-[0-9]+-link" text != null;
  isAgentName = text: match agentNamePattern text != null && !isGenerationLink text;

  string = with' types.str { type = "string"; };

  agentName = scalar {
    name = "agentName";
    description = "name of an agent (a DNS label that does not end in -N-link)";
    check = value: isString value && isAgentName value;
    schema = {
      type = "string";
      pattern = "^${agentNamePattern}$";
      "not".pattern = "-[0-9]+-link$";
    };
  };

  duration = quantity {
    name = "duration";
    noun = "duration";
    example = "1m30s";
    read = units.milliseconds;
    pattern = units.durationPattern;
  };

  size = quantity {
    name = "size";
    noun = "size";
    example = "512Mi";
    read = units.bytes;
    pattern = units.sizePattern;
    schemaType.type = [ "string" "integer" ];
  };

  percent = quantity {
    name = "percent";
    noun = "percent of one CPU";
    example = "150%";
    read = units.percent;
    pattern = units.percentPattern;
  };

  integer =
    least: most:
    scalar {
      name = "integer";
      description = "whole number from ${toString least} to ${toString most}";
      check = value: isInt value && value >= least && value <= most;
      schema = {
        type = "integer";
        minimum = least;
        maximum = most;
      };
    };

  # With three decimals at most, as the program keeps it.
  decimal =
    least: most:
    scalar {
      name = "decimal";
      description = "number from ${toString least} to ${toString most} with at most three decimals";
      check =
        value:
        let
          thousandths = value * 1000;
          rest = thousandths - builtins.floor (thousandths + 0.5);
        in
        (isInt value || isFloat value)
        && value >= least
        && value <= most
        && rest < 0.000001
        && rest > -0.000001;
      schema = {
        type = "number";
        minimum = least;
        maximum = most;
        multipleOf = 0.001;
      };
    };

  word = words: with' (types.enum words) { enum = words; };

  absolutePath = scalar {
    name = "absolutePath";
    description = "absolute path as a string";
    check = value: isString value && lib.hasPrefix "/" value && stringLength value <= 4095;
    schema = {
      type = "string";
      pattern = "^/";
      maxLength = 4095;
    };
  };

  # The one place where a secret could slip into the store, which everybody can read.
  secretFile =
    let
      description = ''absolute path of a file outside the Nix store, as a string ("/run/secrets/token", in quotes)'';
    in
    scalar {
      name = "secretFile";
      inherit description;
      check = value: outsideStore value && absolutePath.check value;
      schema = absolutePath.schema;
    };

  account = scalar {
    name = "account";
    description = "name of a user or group";
    check =
      value:
      isString value
      && match "[^-[:space:][:cntrl:]:/][^[:space:][:cntrl:]:/]{0,254}" value != null
      && value != "."
      && value != "..";
    schema = {
      type = "string";
      pattern = "^(?![.]{1,2}$)[^-\\s:/][^\\s:/]*$";
      maxLength = 255;
    };
  };

  host = text {
    name = "host";
    description = "host name or IP address";
    pattern = "[A-Za-z0-9_:.][A-Za-z0-9_:.-]*";
    most = 253;
  };

  # With a host, without user information.
  httpUrl = text {
    name = "httpUrl";
    description = "http or https URL";
    pattern = "https?://[^]/?#:@[:space:]][^/?#@[:space:]]*([/?#][!-~]*)?";
    most = 2048;
  } // {
    schema = {
      type = "string";
      pattern = "^https?://[^/?#:@\\s][^/?#@\\s]*([/?#][!-~]*)?$";
      maxLength = 2048;
    };
  };

  urlPath = text {
    name = "urlPath";
    description = "path of a URL, beginning with /";
    pattern = "/[!-~]*";
    most = 2048;
  };

  # One status code, as a number too, or a range with both ends included.
  statusCodes =
    let
      one = "[1-5][0-9][0-9]";
      pattern = "${one}(-${one})?";
    in
    scalar {
      name = "statusCodes";
      description = ''HTTP status codes from 100 to 599, such as 204 or "200-399"'';
      check =
        value:
        (isInt value && value >= 100 && value <= 599) || (isString value && match pattern value != null);
      schema = {
        type = [ "string" "integer" ];
        pattern = "^${pattern}$";
        minimum = 100;
        maximum = 599;
      };
    };

  label = text {
    name = "label";
    description = "value of a label (at most 63 letters, digits, '-', '_' and '.')";
    pattern = "([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?";
    most = 63;
  };

  headerValue = text {
    name = "headerValue";
    description = "value of an HTTP header (visible ASCII, spaces and tabs)";
    pattern = "[ -~\t]*";
    most = 2048;
  };

  loopback =
    let
      v4 = "127[.][0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}";
      port = "[1-9][0-9]{0,4}";
    in
    scalar {
      name = "loopback";
      description = "loopback address and port, such as 127.0.0.1:9464";
      check = value: isString value && match "(${v4}|[[]::1[]]):${port}" value != null;
      schema = {
        type = "string";
        # In ECMA 262 a bracket is escaped otherwise than in POSIX.
        pattern = "^(${v4}|\\[::1\\]):${port}$";
      };
    };

  chatId = text {
    name = "chatId";
    description = "number or name of a chat";
    pattern = ".+";
    most = 63;
  };

  # reconciler/core/src/event.rs, EventKind.
  eventKind = word [
    "NodeStarted" "NodeStopped" "SpecChanged" "SpecRejected" "Diff" "FailureDetected"
    "ActionIntended" "ActionSucceeded" "ActionFailed" "HealthVerified" "GenerationActivated"
    "GenerationGood" "GenerationBad" "ClosureVerified" "RollbackIntended" "RollbackSucceeded" "RollbackFailed"
    "EscalationExhausted" "AlertQueued" "AlertDelivered" "AlertFailed" "OperatorCommand"
    "OutsideAction" "Paused" "Resumed" "Adopted" "RecordingDegraded" "ClockRegressed" "LogReset"
    "AnchorSucceeded" "AnchorFailed" "Pruned" "Redacted" "KeyRotated" "CheckpointSigned"
  ];

  # C2SP vkey: NAME+8 HEX DIGITS+BASE64.
  verifierKey = text {
    name = "verifierKey";
    description = "verifier key (C2SP signed note: NAME+HASH+BASE64)";
    pattern = "[^+ ]+[+][0-9A-Fa-f]{8}[+][A-Za-z0-9+/=]+";
    most = 2048;
  };

  nullable = elem: with' (types.nullOr elem) elem.schema;

  listOf =
    elem:
    with' (types.listOf elem) {
      type = "array";
      items = elem.schema;
    };

  # argv: it names a program, by an absolute path or by a name that is looked up.
  command =
    types.addCheck (types.listOf types.str) (
      words:
      words != [ ]
      && (
        let
          program = builtins.head words;
        in
        !isString program || (program != "" && (lib.hasPrefix "/" program || !lib.hasInfix "/" program))
      )
    )
    // {
      description = "list of strings that begins with a program (an absolute path, or a name without /)";
      # A command that is not given is missing, and not empty.
      emptyValue = { };
      schema = {
        type = "array";
        minItems = 1;
        maxItems = 4096;
        items.type = "string";
        prefixItems = [ { type = "string"; pattern = "^(/.*|[^/]+)$"; } ];
      };
    };

  # A map whose keys are names of a certain kind.
  mapOf =
    key: elem:
    types.addCheck (types.attrsOf elem) (value: isAttrs value && lib.all key.check (builtins.attrNames value))
    // {
      description = "map from ${key.description} to ${elem.description}";
      # The module system rebuilds types that hold submodules; the check must survive it.
      substSubModules = modules: mapOf key (elem.substSubModules modules);
      schema = {
        type = "object";
        propertyNames = key.schema;
        additionalProperties = elem.schema;
      };
    };

  keys =
    let
      reserved = [
        "CREDENTIALS_DIRECTORY"
        "INVOCATION_ID"
        "NOTIFY_SOCKET"
        "OSMODA_AGENT"
        "OSMODA_GENERATION"
        "WATCHDOG_USEC"
      ];
      variablePattern = "[A-Za-z_][A-Za-z0-9_]{0,254}";
      named = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";
      prefix = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
    in
    {
      variable = scalar {
        name = "variable";
        description = "name of an environment variable that osmoda does not set itself";
        check = value: isString value && match variablePattern value != null && !lib.elem value reserved;
        schema = {
          type = "string";
          pattern = "^${variablePattern}$";
          "not".enum = reserved;
        };
      };
      credential = text {
        name = "credentialName";
        description = "name of a credential (letters, digits, '-', '_' and '.', no '.' first)";
        pattern = "[-A-Za-z0-9_][-A-Za-z0-9_.]*";
        most = 255;
      };
      label = text {
        name = "labelKey";
        description = "key of a label ([PREFIX/]NAME)";
        pattern = "(${prefix}/)?${named}";
        most = 317;
      };
      header = text {
        name = "headerName";
        description = "name of an HTTP header";
        pattern = "[-!#$%&'*+.^_`|~A-Za-z0-9]+";
      };
      agent = agentName;
    };
}
