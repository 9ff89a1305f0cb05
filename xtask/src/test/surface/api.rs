//! Part `api`: schemathesis asks the API for what its document allows, and for what it does not.
//!
//! Every answer has to be documented, of the documented form, and none of them may be 5xx.

use std::{path::Path, process::Command};

use anyhow::Context as _;
use serde_json::Value;

use super::{Ground, forward, python};
use crate::{
    project,
    test::{Context, Verdict, parts},
};

/// The version that this was tried with.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// What every answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance,negative_data_rejection,\
    unsupported_method";

/// Refusals of what the document does not allow. Beside what schemathesis takes for one by itself
/// there is 413: a list with more manifests than allowed can be too long to be read at all.
const REFUSALS: &str = r#"
[checks.negative_data_rejection]
expected-statuses = ["400", "403", "404", "405", "409", "413"]
"#;

/// Requests that are tried for each operation, beside those that cover the document.
const EXAMPLES: &str = "60";

/// # Errors
/// An answer is not as documented.
pub fn api(context: &Context, osmoda: &Path) -> anyhow::Result<Verdict> {
    let python = match python(&[SCHEMATHESIS]) {
        Ok(found) => found,
        Err(reason) => return Ok(Verdict::Skipped(format!("{reason:#}"))),
    };
    let ground = Ground::start(osmoda, "api")?;
    let document = ground.get("/openapi.json", "")?;
    let mut document: Value = serde_json::from_str(&document).context("reading the document")?;
    leave_out_streams(&mut document);
    let file = project::target().join("test/surface/openapi.json");
    project::write_file(&file, document.to_string())?;
    let settings = project::target().join("test/surface/schemathesis.toml");
    project::write_file(&settings, REFUSALS)?;
    let address = forward::to(&ground.socket())?;
    let mut command = Command::new(python.with_file_name("schemathesis"));
    command
        .current_dir(&ground.directory)
        .arg("--config-file")
        .arg(&settings)
        .arg("run")
        .arg(&file)
        .args(["--url", &format!("http://{address}")])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES, "--request-timeout", "60"])
        .args(["--checks", CHECKS, "--no-color"]);
    parts::run(context, &mut command)
        .with_context(|| format!("the daemon said:\n{}", ground.node.log()))?;
    let seen = parts::last_line_with(context, " generated").unwrap_or_default();
    ground.ends_well()?;
    Ok(Verdict::Passed(seen.trim().to_owned()))
}

/// A stream does not end, so that nobody can wait for the whole of it.
fn leave_out_streams(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (_, item) in paths {
        let operations = item.as_object_mut().into_iter().flatten();
        for (_, operation) in operations {
            if let Some(query) = operation
                .get_mut("parameters")
                .and_then(Value::as_array_mut)
            {
                query.retain(|parameter| parameter["name"] != "follow");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_parameter_that_makes_a_stream_is_left_out() {
        let query =
            |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
        let with = |names| json!({"paths": {"/a": {"get": {"parameters": query(names)}}}});
        let mut document = with(&["limit", "follow"]);
        leave_out_streams(&mut document);
        assert_eq!(document, with(&["limit"]));
    }
}
