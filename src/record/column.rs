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

    const fn is_whole(self) -> bool {
        matches!(self, Self::Int32 | Self::Int64 | Self::Unsigned)
    }

    const fn is_number(self) -> bool {
        self.is_whole() || matches!(self, Self::Float | Self::Double)
    }
}

/// The largest whole number up to which a number of 64 bits with a fraction tells each from the next.
const MAX_EXACT: i128 = 1 << 53;

/// What is known of the values of a column: their type, and between which bounds the whole numbers among them are. The type
/// alone does not tell whether another one holds them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnValues {
    /// The type that holds all of them.
    pub ty: ColumnType,
    /// No whole number is less; at most 0.
    least: i128,
    /// No whole number is greater; at least 0.
    greatest: i128,
}

impl ColumnValues {
    /// A value of a list that does not state types; `None` for null, which may be of any.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let mut number = 0;
        let ty = match value {
            Value::Null => return None,
            Value::Bool(_) => ColumnType::Boolean,
            Value::Number(value) => {
                if let Some(whole) = value.as_i64() {
                    number = whole.into();
                    ColumnType::Int64
                } else if let Some(whole) = value.as_u64() {
                    number = whole.into();
                    ColumnType::Unsigned
                } else {
                    ColumnType::Double
                }
            }
            Value::String(_) => ColumnType::Text,
            Value::Array(_) | Value::Object(_) => ColumnType::Json,
        };
        Some(Self { ty, least: number.min(0), greatest: number.max(0) })
    }

    /// The values of a list that states its types. `bounds`: the least and the greatest of them, if they are known.
    #[must_use]
    pub fn stated(ty: ColumnType, bounds: Option<(i128, i128)>) -> Self {
        let bounds = bounds.unwrap_or(match ty {
            ColumnType::Int32 => (i32::MIN.into(), i32::MAX.into()),
            ColumnType::Int64 => (i64::MIN.into(), i64::MAX.into()),
            ColumnType::Unsigned => (0, u64::MAX.into()),
            _ => (0, 0),
        });
        Self { ty, least: bounds.0.min(0), greatest: bounds.1.max(0) }
    }

    /// The values of both. Where no type of number holds them all without a change, they are text.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (least, greatest) = (self.least.min(other.least), self.greatest.max(other.greatest));
        let ty = match (self.ty, other.ty) {
            (one, other) if one == other => one,
            (one, other) if one.is_whole() && other.is_whole() => {
                if greatest <= i64::MAX.into() {
                    ColumnType::Int64
                } else if least >= 0 {
                    ColumnType::Unsigned
                } else {
                    ColumnType::Text
                }
            }
            (one, other) if one.is_number() && other.is_number() => {
                let is_exact = least >= -MAX_EXACT && greatest <= MAX_EXACT;
                if is_exact { ColumnType::Double } else { ColumnType::Text }
            }
            (ColumnType::Json, _) | (_, ColumnType::Json) => ColumnType::Json,
            _ => ColumnType::Text,
        };
        Self { ty, least, greatest }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_has_the_narrowest_type_that_holds_all_its_values() {
        let exact = 1_u64 << 53;
        for (values, expected) in [
            (vec![json!(1), json!(null), json!(-3)], Some(ColumnType::Int64)),
            (vec![json!(1), json!(0.5)], Some(ColumnType::Double)),
            (vec![json!(u64::MAX), json!(u64::MAX)], Some(ColumnType::Unsigned)),
            (vec![json!(i64::MAX), json!(u64::MAX), json!(7)], Some(ColumnType::Unsigned)),
            (vec![json!(u64::MAX), json!(-1)], Some(ColumnType::Text)),
            (vec![json!(exact), json!(0.5)], Some(ColumnType::Double)),
            (vec![json!(exact + 1), json!(0.5)], Some(ColumnType::Text)),
            (vec![json!(-1), json!(0.5), json!(i64::MIN)], Some(ColumnType::Text)),
            (vec![json!(u64::MAX), json!(0.5), json!([])], Some(ColumnType::Json)),
            (vec![json!(true), json!("true")], Some(ColumnType::Text)),
            (vec![json!("a"), json!(["a"])], Some(ColumnType::Json)),
            (vec![json!(null)], None),
        ] {
            let type_of = |values: &mut dyn Iterator<Item = &Value>| {
                values.filter_map(ColumnValues::of).reduce(ColumnValues::or).map(|values| values.ty)
            };
            assert_eq!(type_of(&mut values.iter()), expected, "{values:?}");
            assert_eq!(type_of(&mut values.iter().rev()), expected, "{values:?}, from the end");
        }
    }

    #[test]
    fn types_that_are_stated_are_wide_unless_bounds_are_known() {
        let (whole, fraction) = (ColumnType::Int64, ColumnValues::stated(ColumnType::Double, None));
        let unsigned = ColumnValues::stated(ColumnType::Unsigned, None);
        for (values, other, expected) in [
            (ColumnValues::stated(whole, None), fraction, ColumnType::Text),
            (ColumnValues::stated(whole, Some((-4, 5))), fraction, ColumnType::Double),
            (ColumnValues::stated(ColumnType::Int32, None), fraction, ColumnType::Double),
            (ColumnValues::stated(whole, None), unsigned, ColumnType::Text),
            (ColumnValues::stated(whole, Some((4, 5))), unsigned, ColumnType::Unsigned),
            (ColumnValues::stated(ColumnType::Int32, None), ColumnValues::stated(whole, None), whole),
        ] {
            assert_eq!((values.or(other).ty, other.or(values).ty), (expected, expected), "{values:?}, {other:?}");
        }
    }
}
