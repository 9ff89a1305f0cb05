# What is generated from the fields: { "docs/…" = text or JSON; }. `cargo xtask docs` writes it.
#
#   nix-instantiate --eval --strict --json modules/reference --arg lib 'import PATH/lib'
{ lib }:
{
  "docs/manifest.schema.json" = import ./schema.nix { inherit lib; };
  "docs/options.md" = import ./options.nix { inherit lib; };
}
