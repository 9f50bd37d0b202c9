//! The types of the columns of a list, as far as a table that is made from its rows keeps them.

use serde_json::Value;

/// The type of the values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// `true` and `false`.
    Boolean,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A whole number of 64 bits without a sign.
    Unsigned,
    /// A number with a fraction, of 32 bits.
    Float,
    /// A number with a fraction, of 64 bits.
    Double,
    /// Text.
    Text,
    /// Lists, objects, or values of several types: their JSON as text.
    Json,
    /// A day.
    Date,
    /// A moment, in units of which this number is a second; whether it is in UTC or in an unknown time zone.
    Timestamp(i64, bool),
}

impl ColumnType {
    /// What it is called in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Unsigned => "uint64",
            Self::Float => "float",
            Self::Double => "double",
            Self::Text => "text",
            Self::Json => "JSON as text",
            Self::Date => "date",
            Self::Timestamp(..) => "timestamp",
        }
    }

    /// The type of a value of a list that does not state types; `None` for null, which may be of any.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() => Self::Int64,
            Value::Number(number) if number.is_u64() => Self::Unsigned,
            Value::Number(_) => Self::Double,
            Value::String(_) => Self::Text,
            Value::Array(_) | Value::Object(_) => Self::Json,
        })
    }

    /// The type of a column that has values of both types.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Int32 | Self::Int64, Self::Int32 | Self::Int64) => Self::Int64,
            (
                Self::Int32 | Self::Int64 | Self::Unsigned | Self::Float | Self::Double,
                Self::Int32 | Self::Int64 | Self::Unsigned | Self::Float | Self::Double,
            ) => Self::Double,
            (Self::Json, _) | (_, Self::Json) => Self::Json,
            _ => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_has_the_narrowest_type_that_holds_all_its_values() {
        for (values, expected) in [
            (vec![json!(1), json!(null), json!(-3)], Some(ColumnType::Int64)),
            (vec![json!(1), json!(0.5)], Some(ColumnType::Double)),
            (vec![json!(u64::MAX), json!(u64::MAX)], Some(ColumnType::Unsigned)),
            (vec![json!(u64::MAX), json!(-1)], Some(ColumnType::Double)),
            (vec![json!(true), json!("true")], Some(ColumnType::Text)),
            (vec![json!("a"), json!(["a"])], Some(ColumnType::Json)),
            (vec![json!(null)], None),
        ] {
            let found = values.iter().filter_map(ColumnType::of).reduce(ColumnType::or);
            assert_eq!(found, expected, "{values:?}");
        }
    }
}
