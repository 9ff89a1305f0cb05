# A set of fields as a submodule that remembers which of them were written.
#
# A manifest holds what its author wrote and no defaults, so that a new default in osmoda is not a
# new deployment (docs/specs.md, "Changing a spec"). The options have the program's defaults, for
# their documentation and for whoever reads `config`; `_written` holds the manifest's part.
{ lib }:
let
  inherit (builtins) isAttrs isList mapAttrs;

  # Priority of an option's own default (lib.mkOptionDefault).
  defaultPriority = (lib.mkOptionDefault null).priority;

  isOurs = name: name != "_module" && name != "_written";

  # What has no default and is missing is looked at all the same: that is Nix' own error.
  wasWritten =
    option:
    (!option.isDefined && !(option ? default))
    || (option.isDefined && option.highestPrio < defaultPriority && option.value != null);

  # Values of nested records are replaced by what was written of them.
  plain =
    value:
    if isList value then map plain value
    else if !isAttrs value || lib.isDerivation value then value
    else if value ? _written then value._written
    else mapAttrs (_: plain) value;

  written =
    options:
    let
      part =
        option:
        if !lib.isOption option then
          let
            inner = written option;
          in
          lib.optional (inner != { }) inner
        else
          lib.optional (wasWritten option) (plain option.value);
      parts = mapAttrs (_: part) (lib.filterAttrs (name: _: isOurs name) options);
    in
    mapAttrs (_: builtins.head) (lib.filterAttrs (_: found: found != [ ]) parts);

  # `{ NAME = option or fields; }` as JSON Schema.
  schema =
    fields:
    let
      property =
        field:
        if !lib.isOption field then
          schema field
        else
          field.type.schema
          // {
            description = lib.replaceStrings [ "\n" ] [ " " ] (lib.trim field.description);
          }
          // lib.optionalAttrs (field ? default && field.default != null) { inherit (field) default; }
          // lib.optionalAttrs (field ? example || field ? manifestExample) {
            # An example that is an expression of the Nix language has a twin for manifests.
            examples = [ (field.manifestExample or field.example) ];
          };
    in
    {
      type = "object";
      additionalProperties = false;
      properties = mapAttrs (_: property) fields;
    }
    // lib.optionalAttrs (requiredOf fields != [ ]) { required = requiredOf fields; };

  # What has no default and is no group must be written.
  requiredOf =
    fields: lib.attrNames (lib.filterAttrs (_: field: lib.isOption field && !(field ? default)) fields);

  record =
    fields: rest:
    lib.types.submodule (
      { options, ... }:
      {
        options = fields // {
          _written = lib.mkOption {
            type = lib.types.raw;
            internal = true;
            visible = false;
            readOnly = true;
            description = "What was written of these fields.";
          };
        };
        config._written = written options;
      }
    )
    // {
      schema = schema fields // rest;
    };
in
{
  inherit record schema written;
}
