//! The type of a plain scalar by YAML's core schema (YAML 1.2.2 section 10.3.2).
//!
//! Whole numbers beyond 64 bits become floats, so that no digit is lost in silence: no field
//! accepts such a float.

use osmoda_core::spec::tree::Value;

/// What a plain scalar means.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    integer(text)
        .or_else(|| float(text))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn integer(text: &str) -> Option<Value> {
    let (digits, radix) = match text {
        _ if text.starts_with("0o") => (&text[2..], 8),
        _ if text.starts_with("0x") => (&text[2..], 16),
        _ => return decimal(text),
    };
    let all_digits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    let number = i64::from_str_radix(digits, radix).ok();
    number.filter(|_| all_digits).map(Value::Int)
}

fn decimal(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().map(Value::Int)
}

fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(Value::Float(f64::INFINITY * sign));
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let is_number = is_mantissa(mantissa) && exponent.is_none_or(is_exponent);
    is_number
        .then(|| text.parse().ok().map(Value::Float))
        .flatten()
}

/// `1`, `1.`, `1.5` or `.5`.
fn is_mantissa(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

fn is_exponent(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_decides_and_nothing_older() {
        for (text, value) in [
            ("null", Value::Null),
            ("~", Value::Null),
            ("", Value::Null),
            ("true", Value::Bool(true)),
            ("FALSE", Value::Bool(false)),
            ("12", Value::Int(12)),
            ("-3", Value::Int(-3)),
            ("+3", Value::Int(3)),
            ("010", Value::Int(10)),
            ("0o10", Value::Int(8)),
            ("0xfF", Value::Int(255)),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1.", Value::Float(1.0)),
            ("1e3", Value::Float(1000.0)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            (
                "9223372036854775808",
                Value::Float(9.223_372_036_854_776e18),
            ),
        ] {
            assert_eq!(resolve(text), value, "{text:?}");
        }
        assert!(matches!(resolve(".nan"), Value::Float(number) if number.is_nan()));
    }

    #[test]
    fn everything_else_is_a_string() {
        for text in [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "tRue",
            "nUll",
            "0b1",
            "1_000",
            "0x",
            "0o8",
            "0o-1",
            "0x+1",
            "1:30",
            ".",
            "-",
            "+",
            "e3",
            "1e",
            ".e1",
            "inf",
            "nan",
            "1.2.3",
            "15s",
            "2020-01-01",
            "0x1.8",
            "-.",
            "1 2",
        ] {
            assert_eq!(resolve(text), Value::String(text.to_owned()), "{text:?}");
        }
    }
}
