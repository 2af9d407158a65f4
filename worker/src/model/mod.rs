//! A model in Hugging Face layout or GGUF, and the decoder that computes it.
//!
//! | module | holds |
//! |---|---|
//! | `config` | `config.json`, checked |
//! | `checkpoint` | weights on disk |
//! | `decoder` | the network; keeps nothing of any request |
//! | `options` | which model, where, and how it is kept |
//! | `sequence` | what one request has computed so far |
//! | `rope` | positions |

mod checkpoint;
mod config;
mod decoder;
mod device;
mod error;
pub(crate) mod files;
mod options;
mod rope;
mod sequence;

pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::gguf_file;
pub(crate) use config::OneOrMore;
pub use config::{Config, SUPPORTED};
pub use decoder::Decoder;
pub use error::ModelError;
pub use options::Options;
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
    pub fn load(options: &Options, progress: &dyn Fn(u8)) -> Result<Self, ModelError> {
        let dir = &options.dir;
        let config = Config::read(dir)?;
        let asked = options
            .context
            .map_or(config.context, |context| context as usize);
        if asked > config.context {
            let most = config.context;
            return Err(ModelError::Context { asked, most });
        }
        let text = Text::read(dir, &config)?;
        let device = device::open(options.device)?;
        let checkpoint = Checkpoint::open(dir)?;
        let decoder = Decoder::load(config, asked, checkpoint, &device, progress)?;
        Ok(Self { text, decoder })
    }
}
