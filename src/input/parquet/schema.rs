//! The schema of a Parquet file: which columns can be read, and what their values mean (Parquet, "Logical Types").

use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};

/// A column without its binary data; `None` if nothing else is in it.
pub fn without_binary(ty: &TypePtr) -> Option<TypePtr> {
    if ty.is_primitive() {
        return is_representable(ty).then(|| Arc::clone(ty));
    }
    let (all, info) = (ty.get_fields(), ty.get_basic_info());
    let fields = all.iter().filter_map(without_binary).collect::<Vec<_>>();
    if !fields.is_empty()
        && fields.len() == all.len()
        && fields.iter().zip(all).all(|(kept, field)| Arc::ptr_eq(kept, field))
    {
        return Some(Arc::clone(ty));
    }
    // The structure of a list or a map depends on all of its fields, so none can be removed.
    let is_struct =
        !matches!(info.converted_type(), ConvertedType::LIST | ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE);
    if fields.is_empty() || !is_struct {
        return None;
    }
    let rest = Type::group_type_builder(ty.name()).with_repetition(info.repetition()).with_fields(fields);
    rest.build().ok().map(Arc::new)
}

/// Whether JSON can represent values of a primitive type.
fn is_representable(ty: &Type) -> bool {
    let kind = LogicalKind::of(ty);
    match ty.get_physical_type() {
        Physical::BYTE_ARRAY => matches!(kind, LogicalKind::Text | LogicalKind::Json | LogicalKind::Decimal),
        Physical::FIXED_LEN_BYTE_ARRAY => {
            matches!(kind, LogicalKind::Uuid | LogicalKind::Float16 | LogicalKind::Decimal)
        }
        _ => true,
    }
}

/// Whether a column holds one text in each row, or bytes that may be text.
pub fn is_text(ty: &Type) -> bool {
    ty.is_primitive()
        && ty.get_physical_type() == Physical::BYTE_ARRAY
        && !matches!(LogicalKind::of(ty), LogicalKind::Decimal)
        && !is_repeated(ty)
}

/// The schema without annotations, except for decimals and 16-bit floats, which the library converts correctly.
pub fn without_annotations(ty: &Type) -> Result<TypePtr, ParquetError> {
    let info = ty.get_basic_info();
    let plain = match ty {
        Type::PrimitiveType { physical_type, type_length, scale, precision, .. } => {
            let builder = Type::primitive_type_builder(ty.name(), *physical_type)
                .with_repetition(info.repetition())
                .with_length(*type_length);
            match LogicalKind::of(ty) {
                LogicalKind::Decimal => builder
                    .with_converted_type(ConvertedType::DECIMAL)
                    .with_precision(*precision)
                    .with_scale(*scale)
                    .build()?,
                LogicalKind::Float16 => builder.with_logical_type(Some(LogicalType::Float16)).build()?,
                _ => builder.build()?,
            }
        }
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| without_annotations(field)).collect::<Result<_, _>>()?;
            let mut builder = Type::group_type_builder(ty.name()).with_converted_type(info.converted_type());
            if info.has_repetition() {
                builder = builder.with_repetition(info.repetition());
            }
            builder.with_fields(fields).build()?
        }
    };
    Ok(Arc::new(plain))
}

/// The logical type of a column, as far as it matters for its values (Parquet, "Logical Types").
pub enum LogicalKind {
    /// The physical value.
    Plain,
    Text,
    Json,
    Uuid,
    Decimal,
    Float16,
    Unsigned,
    Date,
    /// The time since midnight, in units of which this number is a second.
    Time(i64),
    /// The time since 1970-01-01, in units of which this number is a second; whether it is in UTC or in an unknown time
    /// zone.
    Timestamp(i64, bool),
}

impl LogicalKind {
    /// By the logical type, or by the converted type of older files.
    pub fn of(ty: &Type) -> Self {
        let info = ty.get_basic_info();
        let per_second = |unit: &TimeUnit| match unit {
            TimeUnit::MILLIS => 1_000,
            TimeUnit::MICROS => 1_000_000,
            TimeUnit::NANOS => 1_000_000_000,
        };
        match (info.logical_type_ref(), info.converted_type()) {
            (Some(LogicalType::Timestamp(info)), _) => {
                Self::Timestamp(per_second(&info.unit), info.is_adjusted_to_u_t_c)
            }
            (Some(LogicalType::Time(info)), _) => Self::Time(per_second(&info.unit)),
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

/// The fields of a group; none for a primitive type.
pub fn fields(ty: &Type) -> &[TypePtr] {
    if ty.is_primitive() { &[] } else { ty.get_fields() }
}

/// The type of the elements of a list, for each of the ways in which lists are written (Parquet, "Lists",
/// backward-compatibility rules). The library follows the same rules.
pub fn element(ty: &Type) -> &Type {
    let converted = ty.get_basic_info().converted_type();
    match (fields(ty), converted) {
        ([repeated], ConvertedType::LIST) => match fields(repeated) {
            [only] if is_repeated(only) => only,
            [only] if repeated.name() != "array" && !repeated.name().ends_with("_tuple") => only,
            _ => repeated,
        },
        // A set: a map without values.
        ([repeated], ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE) => {
            fields(repeated).first().map_or(ty, |key| key)
        }
        _ => ty,
    }
}

pub fn is_repeated(ty: &Type) -> bool {
    ty.get_basic_info().has_repetition() && ty.get_basic_info().repetition() == Repetition::REPEATED
}
