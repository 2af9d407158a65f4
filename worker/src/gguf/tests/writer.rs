//! Writes GGUF files, good ones and bad ones.

use crate::gguf::Kind;

#[derive(Clone)]
pub struct Writer {
    pub version: u32,
    pub alignment: u64,
    pub values: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<Entry>,
}

#[derive(Clone)]
pub struct Entry {
    pub name: String,
    /// In the order of Hugging Face.
    pub shape: Vec<u64>,
    pub kind: u32,
    /// Where the table says it is; where it is by default.
    pub offset: Option<u64>,
    pub data: Vec<u8>,
}

/// The bytes of a string: length, then text.
pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

/// The bytes of an array behind its type: type of the elements, count, elements.
pub fn array(kind: u32, count: usize, elements: &[u8]) -> Vec<u8> {
    let count = (count as u64).to_le_bytes();
    [&kind.to_le_bytes()[..], &count, elements].concat()
}

pub fn id(kind: Kind) -> u32 {
    match kind {
        Kind::F32 => 0,
        Kind::F16 => 1,
        Kind::Q4_0 => 2,
        Kind::Q8_0 => 8,
        Kind::Q4K => 12,
        Kind::Q5K => 13,
        Kind::Q6K => 14,
        Kind::BF16 => 30,
    }
}

pub fn f32s(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

impl Writer {
    pub fn new() -> Self {
        Self {
            version: 3,
            alignment: 32,
            values: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Sets a value: the number of its type and its bytes.
    pub fn raw(&mut self, key: &str, kind: u32, bytes: &[u8]) -> &mut Self {
        self.remove(key);
        let bytes = [&kind.to_le_bytes()[..], bytes].concat();
        self.values.push((key.to_owned(), bytes));
        self
    }

    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.values.retain(|(other, _)| other != key);
        self
    }

    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub fn bool(&mut self, key: &str, value: bool) -> &mut Self {
        self.raw(key, 7, &[value.into()])
    }

    pub fn string(&mut self, key: &str, value: &str) -> &mut Self {
        self.raw(key, 8, &string(value))
    }

    pub fn strings<T: AsRef<str>>(&mut self, key: &str, values: &[T]) -> &mut Self {
        let bytes: Vec<u8> = values.iter().flat_map(|it| string(it.as_ref())).collect();
        self.raw(key, 9, &array(8, values.len(), &bytes))
    }

    pub fn i32s(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.raw(key, 9, &array(5, values.len(), &bytes))
    }

    pub fn f32s(&mut self, key: &str, values: &[f32]) -> &mut Self {
        self.raw(key, 9, &array(6, values.len(), &f32s(values)))
    }

    pub fn tensor(&mut self, name: &str, shape: &[u64], kind: Kind, data: &[u8]) -> &mut Self {
        self.tensors.push(Entry {
            name: name.to_owned(),
            shape: shape.to_vec(),
            kind: id(kind),
            offset: None,
            data: data.to_vec(),
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        for (key, value) in &self.values {
            bytes.extend(string(key));
            bytes.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            bytes.extend(string(&tensor.name));
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                bytes.extend(size.to_le_bytes());
            }
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
            self.pad(&mut data);
        }
        self.pad(&mut bytes);
        bytes.extend(data);
        bytes
    }

    fn pad(&self, bytes: &mut Vec<u8>) {
        let end = (bytes.len() as u64).next_multiple_of(self.alignment);
        bytes.resize(end as usize, 0);
    }
}
