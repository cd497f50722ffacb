//! How large the numbers of the description may be.
//!
//! Purpose: the description made from the code says `int64` of a `u64`, which promises to refuse what is read; it is to say
//! `uint64`, and the largest number that is read.
//! Promises: what has bounds of its own keeps them.
//! Never: changes what is read.

use utoipa::Number;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems};
use utoipa::openapi::{KnownFormat, Object, RefOr, Schema, SchemaFormat};

/// Says it of every number without a sign in a schema.
pub fn widen(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            widen_object(object);
            object.properties.values_mut().for_each(widen);
            if let Some(AdditionalProperties::RefOr(values)) = object.additional_properties.as_deref_mut() {
                widen(values);
            }
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                widen(items);
            }
        }
        Schema::OneOf(one) => one.items.iter_mut().for_each(widen),
        Schema::AllOf(all) => all.items.iter_mut().for_each(widen),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(widen),
        _ => {}
    }
}

fn widen_object(object: &mut Object) {
    // Numbers with a sign have no least one, or bounds of their own.
    let is_unsigned = match object.minimum {
        Some(Number::Int(least)) => least == 0,
        Some(Number::UInt(least)) => least == 0,
        Some(Number::Float(least)) => least == 0.0,
        None => false,
    };
    if !is_unsigned || object.maximum.is_some() {
        return;
    }
    let (most, name) = match object.format {
        Some(SchemaFormat::KnownFormat(KnownFormat::Int32)) => (u32::MAX as usize, "uint32"),
        Some(SchemaFormat::KnownFormat(KnownFormat::Int64)) | None => (usize::MAX, "uint64"),
        _ => return,
    };
    object.maximum = Some(Number::UInt(most));
    object.format = Some(SchemaFormat::Custom(name.to_owned()));
}
