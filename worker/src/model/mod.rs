//! A model in Hugging Face layout, and the decoder that computes it.
//!
//! | module | holds |
//! |---|---|
//! | `config` | `config.json`, checked |
//! | `checkpoint` | weights on disk |
//! | `decoder` | the network; keeps nothing of any request |
//! | `sequence` | what one request has computed so far |
//! | `rope` | positions |

mod checkpoint;
mod config;
mod decoder;
mod device;
mod error;
pub(crate) mod files;
mod rope;
mod sequence;

use std::path::Path;

use pool_core::device::Device;

pub use checkpoint::Checkpoint;
pub(crate) use config::OneOrMore;
pub use config::{Config, SUPPORTED};
pub use decoder::Decoder;
pub use error::ModelError;
pub use sequence::Sequence;

use crate::text::Text;

/// Everything that answers: the words and the network.
pub struct Model {
    pub text: Text,
    pub decoder: Decoder,
}

impl Model {
    /// Loads a model folder onto a device.
    ///
    /// Small files come first, so that a folder that cannot be served is refused before its weights are read.
    /// `context` bounds prompt and answer together; the model's own limit when absent.
    pub fn load(
        dir: &Path,
        device: Device,
        context: Option<u32>,
        progress: &dyn Fn(u8),
    ) -> Result<Self, ModelError> {
        let config = Config::read(dir)?;
        let asked = context.map_or(config.context, |context| context as usize);
        if asked > config.context {
            let most = config.context;
            return Err(ModelError::Context { asked, most });
        }
        let text = Text::read(dir, &config)?;
        let device = device::open(device)?;
        let checkpoint = Checkpoint::open(dir)?;
        let decoder = Decoder::load(config, asked, checkpoint, &device, progress)?;
        Ok(Self { text, decoder })
    }
}
