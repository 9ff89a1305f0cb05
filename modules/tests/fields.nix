# Every field's example and default are values of its type.
{ is, lib }:
let
  fields = {
    agents = import ../fields/agent.nix { inherit lib; };
    node = import ../fields/node.nix { inherit lib; };
  };

  # Groups are sets of fields; a record is a type with fields of its own.
  within =
    name: field:
    if !lib.isOption field then
      lib.concatLists (lib.mapAttrsToList (inner: within "${name}.${inner}") (removeAttrs field [ "_module" "_written" ]))
    else
      [ { inherit name field; } ] ++ records name field.type;
  records =
    name: type:
    let
      options = type.getSubOptions [ ];
    in
    if options == { } then [ ] else within name options;

  all = within "spec" fields.agents ++ within "spec" fields.node;
  examples = lib.filter (one: one.field ? example && one.field.example._type or null != "literalExpression") all;
  # What is no value of its type, evaluated as a definition of an option would be.
  wrong =
    attribute:
    map (one: one.name) (
      lib.filter (
        one:
        let
          merged = lib.mergeDefinitions [ one.name ] one.field.type [
            {
              file = "test";
              value = one.field.${attribute};
            }
          ];
        in
        !(builtins.tryEval (builtins.deepSeq merged.mergedValue true)).success
      ) (lib.filter (one: one.field ? ${attribute}) (if attribute == "example" then examples else all))
    );
in
{
  "fields are found, in records too" = is true (lib.length all > 120 && lib.any (one: one.name == "spec.alerts.chatId") all);
  "all have a description and an example" = is [ ] (
    map (one: one.name) (lib.filter (one: !(one.field ? example) || !(one.field ? description)) all)
  );
  "examples are values" = is [ ] (wrong "example");
  "defaults are values" = is [ ] (wrong "default");
}
