//! `osmoda doctor`: findings by area, each with its remedy.

use osmoda_node::doctor::{Level, Report};

use super::one_line;

/// All findings, and a last line that sums them up.
pub fn report(report: &Report) -> String {
    let mut text = String::new();
    let mut area = "";
    for finding in &report.findings {
        if finding.area != area {
            area = &finding.area;
            text.push_str(&format!("{area}:\n"));
        }
        let level = match finding.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        text.push_str(&format!("  {level}  {}\n", one_line(&finding.message)));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("        -> {}\n", one_line(&finding.remedy)));
        }
    }
    let count = |level| {
        let findings = report.findings.iter();
        findings.filter(|finding| finding.level == level).count()
    };
    let (failed, warned) = (count(Level::Fail), count(Level::Warn));
    let sum = match (failed, warned) {
        (0, 0) => "everything is as it should be".to_owned(),
        (0, _) => format!("osmoda works here; {warned} findings could be better"),
        _ => format!("{failed} findings keep something from working, {warned} could be better"),
    };
    text.push_str(&format!("\n{sum}\n"));
    text
}

#[cfg(test)]
mod tests {
    use osmoda_node::doctor::Finding;

    use super::*;

    fn finding(area: &str, level: Level, message: &str, remedy: &str) -> Finding {
        Finding {
            area: area.to_owned(),
            level,
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    #[test]
    fn findings_stand_by_area_with_their_remedies() {
        let findings = vec![
            finding("nix", Level::Ok, "Nix 2.8.0", ""),
            finding("nix", Level::Fail, "it does not\nwork", "install it"),
            finding("clock", Level::Warn, "it is late", "set it"),
        ];
        let expected = "\
nix:
  ok    Nix 2.8.0
  FAIL  it does not work
        -> install it
clock:
  warn  it is late
        -> set it

1 findings keep something from working, 1 could be better
";
        let shown = report(&Report {
            ok: false,
            findings,
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_host_without_findings_is_told_so() {
        let shown = report(&Report {
            ok: true,
            findings: Vec::new(),
        });
        assert_eq!(shown, "\neverything is as it should be\n");
    }
}
