//! The values of the metadata.

/// One value. Integers of every width are one of two variants.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// Values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    Scalars(Scalars),
    Strings(Vec<String>),
    Arrays(Vec<Array>),
    /// As many as this; what they are was passed over.
    Counted(usize),
}

/// Numbers or truth values, kept as they are in the file: no wider in memory than on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalars {
    kind: Scalar,
    bytes: Vec<u8>,
}

/// The types of a fixed width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl Scalar {
    /// Width in bytes.
    pub fn width(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The value of [`Self::width`] little-endian bytes; none where a truth value is neither 0 nor 1.
    pub fn value(self, bytes: &[u8]) -> Option<Value> {
        let mut wide = [0; 8];
        wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        // Sign extension: the value's own top bit moves to the top and back.
        let unused = 64 - 8 * self.width() as u32;
        let signed = (bits << unused).cast_signed() >> unused;
        Some(match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Value::Unsigned(bits),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => Value::Signed(signed),
            Self::F32 => Value::F32(f32::from_bits(bits as u32)),
            Self::F64 => Value::F64(f64::from_bits(bits)),
            Self::Bool if bits > 1 => return None,
            Self::Bool => Value::Bool(bits == 1),
        })
    }
}

impl Scalars {
    /// None where one of them is no value of the kind.
    pub(super) fn new(kind: Scalar, bytes: Vec<u8>) -> Option<Self> {
        let bad = kind == Scalar::Bool && bytes.iter().any(|&byte| byte > 1);
        (!bad).then_some(Self { kind, bytes })
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = Value> {
        let value = |bytes| self.kind.value(bytes).unwrap_or(Value::Bool(false));
        self.bytes.chunks_exact(self.kind.width()).map(value)
    }
}

impl Array {
    pub fn len(&self) -> usize {
        match self {
            Self::Scalars(scalars) => scalars.values().len(),
            Self::Strings(strings) => strings.len(),
            Self::Arrays(arrays) => arrays.len(),
            Self::Counted(count) => *count,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// An integer that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A fraction, or an integer. An f32 becomes the number that its shortest decimal writes, as it stood in the
    /// `config.json` that the file was made from: `1e-5`, not `9.999999747378752e-6`.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::F32(value) => Some(decimal(*value)),
            Self::F64(value) => Some(*value),
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(value) => Some(value),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Self::Array(Array::Strings(strings)) => Some(strings),
            _ => None,
        }
    }

    pub fn as_scalars(&self) -> Option<&Scalars> {
        match self {
            Self::Array(Array::Scalars(scalars)) => Some(scalars),
            _ => None,
        }
    }
}

/// The f64 nearest to the shortest decimal that reads back as this f32.
pub fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
