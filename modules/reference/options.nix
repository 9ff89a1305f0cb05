# docs/options.md: every option of services.osmoda, as a reader meets them - the service, agents,
# the machine - each with type, default and example.
{ lib }:
let
  # Only options are looked at: what they would set on a machine needs no machine here, and a
  # package is told by its name.
  evaluated = lib.evalModules {
    modules = [
      ../default.nix
      { _module.check = false; }
    ];
    specialArgs.pkgs = { };
  };
  all = lib.filter (option: option.visible && !option.internal && lib.hasPrefix "services.osmoda." option.name) (
    lib.optionAttrSetToDocList evaluated.options.services.osmoda
  );

  prefix = "services.osmoda.";
  isAgents = option: option.name == "${prefix}agents" || lib.hasPrefix "${prefix}agents." option.name;
  ofService = map (name: prefix + name) [ "enable" "package" "runtime" "group" "specsDir" ];
  isService = option: lib.elem option.name ofService;

  sections = [
    {
      title = "The service";
      options = map (name: lib.findFirst (option: option.name == name) (throw "no option ${name}") all) ofService;
    }
    {
      title = "Agents";
      options = lib.filter isAgents all;
    }
    {
      title = "The machine";
      options = lib.filter (option: !isAgents option && !isService option) all;
    }
  ];

  # Of a list entry: in the line, or as a block of its own.
  code =
    value:
    let
      text = lib.trim value.text;
      lines = [ "```nix" ] ++ lib.splitString "\n" text ++ [ "```" ];
    in
    if lib.hasInfix "\n" text then
      "\n\n" + lib.concatMapStringsSep "\n" (line: if line == "" then line else "  ${line}") lines
    else
      " `${text}`";
  entry =
    option:
    lib.concatStringsSep "\n" (
      [
        "### ${option.name}"
        ""
        (lib.trim option.description)
        ""
        "- Type: ${option.type}"
      ]
      ++ lib.optional (option ? default) "- Default:${code option.default}"
      ++ lib.optional (option ? example) "- Example:${code option.example}"
    );
  section = one: ''
    ## ${one.title}

    ${lib.concatMapStringsSep "\n\n" entry one.options}
  '';
in
''
  # Options of the NixOS module

  <!-- Generated from modules/ by `cargo xtask docs`: change the options there. -->

  [nixos.md](nixos.md) says how to begin. Only what is written gets into an agent's manifest; the
  defaults here are the program's own.

''
+ lib.concatMapStringsSep "\n" section sections
