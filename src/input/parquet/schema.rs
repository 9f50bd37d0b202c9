//! The schema of a Parquet file: which columns can be read, and what their values stand for.

use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};

/// What remains of a column when its binary data is left out, if there is something left.
pub(super) fn kept(of: &TypePtr) -> Option<TypePtr> {
    if of.is_primitive() {
        return has_a_place(of).then(|| Arc::clone(of));
    }
    let (all, about) = (of.get_fields(), of.get_basic_info());
    let fields = all.iter().filter_map(kept).collect::<Vec<_>>();
    if !fields.is_empty() && fields.len() == all.len() && fields.iter().zip(all).all(|(kept, of)| Arc::ptr_eq(kept, of))
    {
        return Some(Arc::clone(of));
    }
    // What a list or a map is made of is told by its fields, so none of them can be left out.
    let is_struct =
        !matches!(about.converted_type(), ConvertedType::LIST | ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE);
    if fields.is_empty() || !is_struct {
        return None;
    }
    let rest = Type::group_type_builder(of.name()).with_repetition(about.repetition()).with_fields(fields);
    rest.build().ok().map(Arc::new)
}

/// Whether values of a type can become JSON that says what they say.
pub(super) fn has_a_place(of: &Type) -> bool {
    let meaning = Meaning::of(of);
    match of.get_physical_type() {
        Physical::BYTE_ARRAY => matches!(meaning, Meaning::Text | Meaning::Json | Meaning::Decimal),
        Physical::FIXED_LEN_BYTE_ARRAY => matches!(meaning, Meaning::Uuid | Meaning::Float16 | Meaning::Decimal),
        _ => true,
    }
}

/// Whether a column holds one text in each row, or what may be one.
pub(super) fn is_text(of: &Type) -> bool {
    of.is_primitive()
        && of.get_physical_type() == Physical::BYTE_ARRAY
        && !matches!(Meaning::of(of), Meaning::Decimal)
        && !is_repeated(of)
}

/// The same schema without what values mean, but for two kinds of numbers that the library knows better.
pub(super) fn bare(of: &Type) -> Result<TypePtr, ParquetError> {
    let about = of.get_basic_info();
    let bare = match of {
        Type::PrimitiveType { physical_type, type_length, scale, precision, .. } => {
            let builder = Type::primitive_type_builder(of.name(), *physical_type)
                .with_repetition(about.repetition())
                .with_length(*type_length);
            match Meaning::of(of) {
                Meaning::Decimal => builder
                    .with_converted_type(ConvertedType::DECIMAL)
                    .with_precision(*precision)
                    .with_scale(*scale)
                    .build()?,
                Meaning::Float16 => builder.with_logical_type(Some(LogicalType::Float16)).build()?,
                _ => builder.build()?,
            }
        }
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| bare(field)).collect::<Result<_, _>>()?;
            let mut builder = Type::group_type_builder(of.name()).with_converted_type(about.converted_type());
            if about.has_repetition() {
                builder = builder.with_repetition(about.repetition());
            }
            builder.with_fields(fields).build()?
        }
    };
    Ok(Arc::new(bare))
}

/// What the values of a column stand for (Parquet, "Logical Types").
pub(super) enum Meaning {
    /// Themselves.
    Plain,
    Text,
    Json,
    Uuid,
    Decimal,
    Float16,
    Unsigned,
    Date,
    /// Since midnight, so many to a second.
    Time(i64),
    /// Since 1970, so many to a second, in UTC or in nobody's time zone.
    Timestamp(i64, bool),
}

impl Meaning {
    /// By the annotation of today, or the one of old files.
    pub(super) fn of(of: &Type) -> Self {
        let about = of.get_basic_info();
        let per_second = |unit: &TimeUnit| match unit {
            TimeUnit::MILLIS => 1_000,
            TimeUnit::MICROS => 1_000_000,
            TimeUnit::NANOS => 1_000_000_000,
        };
        match (about.logical_type_ref(), about.converted_type()) {
            (Some(LogicalType::Timestamp(about)), _) => {
                Self::Timestamp(per_second(&about.unit), about.is_adjusted_to_u_t_c)
            }
            (Some(LogicalType::Time(about)), _) => Self::Time(per_second(&about.unit)),
            (Some(LogicalType::Uuid), _) => Self::Uuid,
            (Some(LogicalType::Float16), _) => Self::Float16,
            (_, ConvertedType::TIMESTAMP_MILLIS) => Self::Timestamp(1_000, true),
            (_, ConvertedType::TIMESTAMP_MICROS) => Self::Timestamp(1_000_000, true),
            (_, ConvertedType::TIME_MILLIS) => Self::Time(1_000),
            (_, ConvertedType::TIME_MICROS) => Self::Time(1_000_000),
            (_, ConvertedType::DATE) => Self::Date,
            (_, ConvertedType::DECIMAL) => Self::Decimal,
            (_, ConvertedType::UTF8 | ConvertedType::ENUM) => Self::Text,
            (_, ConvertedType::JSON) => Self::Json,
            (_, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => {
                Self::Unsigned
            }
            _ => Self::Plain,
        }
    }
}

pub(super) fn fields(of: &Type) -> &[TypePtr] {
    if of.is_primitive() { &[] } else { of.get_fields() }
}

/// The type of the elements of a list, which has been written in several ways (Parquet, "Lists", backward-compatibility
/// rules; the library goes by the same).
pub(super) fn element(of: &Type) -> &Type {
    let converted = of.get_basic_info().converted_type();
    match (fields(of), converted) {
        ([repeated], ConvertedType::LIST) => match fields(repeated) {
            [only] if is_repeated(only) => only,
            [only] if repeated.name() != "array" && !repeated.name().ends_with("_tuple") => only,
            _ => repeated,
        },
        // A set: a map without values.
        ([repeated], ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE) => {
            fields(repeated).first().map_or(of, |key| key)
        }
        _ => of,
    }
}

pub(super) fn is_repeated(of: &Type) -> bool {
    of.get_basic_info().has_repetition() && of.get_basic_info().repetition() == Repetition::REPEATED
}
