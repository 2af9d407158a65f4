//! What has to be there before CUDA is used, asked for in a way that fails.
//!
//! The bindings that candle uses open each library when it is first called, by its name alone, and panic where it is missing. Here
//! they are opened before, from where they may be: a library that is open already is found by its name.
//!
//! The functions are those of the CUDA driver API (<https://docs.nvidia.com/cuda/cuda-driver-api>).
#![allow(
    unsafe_code,
    reason = "libraries of C are opened and called; what each call relies on is said beside it"
)]

use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::PathBuf;
use std::ptr;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};

use super::absent::Absent;

/// The driver, which comes with the kernel's module.
const DRIVER: &str = "libcuda.so.1";

/// The version of CUDA that the worker was built with, and with it that of its libraries.
pub const CUDA: (&str, &str) = (env!("RBEE_CUDA_MAJOR"), env!("RBEE_CUDA_MINOR"));

/// The compute capability that kernels are built for.
const OLDEST: (c_int, c_int) = (8, 0);

/// Variable that says in which order CUDA counts the cards.
const ORDER: &str = "CUDA_DEVICE_ORDER";

static OPENED: OnceLock<Library> = OnceLock::new();

/// Has CUDA count the cards by their places in the machine, as `nvidia-smi` and the hive do, unless told otherwise.
///
/// # Safety
/// No other thread runs yet.
pub unsafe fn order_by_bus() {
    if std::env::var_os(ORDER).is_none() {
        // SAFETY: as the caller promises.
        unsafe { std::env::set_var(ORDER, "PCI_BUS_ID") };
    }
}

/// Opens the driver and all that candle calls, and looks for the card.
pub fn check(index: u32) -> Result<(), Absent> {
    if OPENED.get().is_none() {
        let _ = OPENED.set(open(DRIVER)?);
    }
    let Some(driver) = OPENED.get() else {
        return Err(Absent::Driver("it was closed".to_owned()));
    };
    // SAFETY: the types of the functions are those of `cuda.h`.
    let (init, version, count) = unsafe {
        (
            symbol::<unsafe extern "C" fn(c_uint) -> c_int>(driver, b"cuInit\0")?,
            symbol::<unsafe extern "C" fn(*mut c_int) -> c_int>(driver, b"cuDriverGetVersion\0")?,
            symbol::<unsafe extern "C" fn(*mut c_int) -> c_int>(driver, b"cuDeviceGetCount\0")?,
        )
    };
    // SAFETY: it may be called at any time.
    succeeded(driver, unsafe { init(0) })?;
    let (mut has, mut cards) = (0, 0);
    // SAFETY: the pointers are to numbers that live on.
    succeeded(driver, unsafe { version(&raw mut has) })?;
    succeeded(driver, unsafe { count(&raw mut cards) })?;
    let number = |text: &str| text.parse().unwrap_or(0);
    // 1000 times the major and 10 times the minor version.
    if has < 1000 * number(CUDA.0) + 10 * number(CUDA.1) {
        return Err(Absent::OldDriver {
            has: format!("{}.{}", has / 1000, has % 1000 / 10),
            needs: format!("{}.{}", CUDA.0, CUDA.1),
        });
    }
    if index >= cards.unsigned_abs() {
        return Err(Absent::NoCard(cards.unsigned_abs()));
    }
    let capability = capability(driver, index)?;
    if capability < OLDEST {
        let (major, minor) = capability;
        return Err(Absent::OldCard { major, minor });
    }
    // Each needs those before it.
    for name in ["libcublasLt", "libcublas", "libcurand"] {
        // cuRAND counts for itself.
        let version = if name == "libcurand" { "10" } else { CUDA.0 };
        // It stays open for as long as the process lives.
        let _ = open(&format!("{name}.so.{version}"))?.into_raw();
    }
    Ok(())
}

/// The compute capability of a card.
fn capability(driver: &Library, index: u32) -> Result<(c_int, c_int), Absent> {
    /// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`, and `…_MINOR` of `cuda.h`.
    const ATTRIBUTES: [c_int; 2] = [75, 76];
    // SAFETY: the types of the functions are those of `cuda.h`.
    let (device, attribute) = unsafe {
        (
            symbol::<unsafe extern "C" fn(*mut c_int, c_int) -> c_int>(driver, b"cuDeviceGet\0")?,
            symbol::<unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int>(
                driver,
                b"cuDeviceGetAttribute\0",
            )?,
        )
    };
    let mut card = 0;
    // SAFETY: the pointer is to a number that lives on.
    succeeded(driver, unsafe {
        device(&raw mut card, index.cast_signed())
    })?;
    let mut numbers = [0; 2];
    for (number, which) in numbers.iter_mut().zip(ATTRIBUTES) {
        // SAFETY: the pointer is to a number that lives on.
        succeeded(driver, unsafe { attribute(number, which, card) })?;
    }
    Ok(numbers.into())
}

/// Bytes that are free on the card whose context this thread has.
pub fn free() -> Option<u64> {
    let driver = OPENED.get()?;
    // SAFETY: the type of the function is that of `cuda.h`.
    let info = unsafe {
        symbol::<unsafe extern "C" fn(*mut usize, *mut usize) -> c_int>(
            driver,
            b"cuMemGetInfo_v2\0",
        )
    };
    let (mut free, mut total) = (0, 0);
    // SAFETY: the pointers are to numbers that live on.
    let code = unsafe { info.ok()?(&raw mut free, &raw mut total) };
    (code == 0).then_some(free as u64)
}

/// Opens a library where the system finds it, or else where toolkits and pip put it.
fn open(name: &str) -> Result<Library, Absent> {
    let mut reason = String::new();
    for path in std::iter::once(PathBuf::from(name)).chain(places(name)) {
        // SAFETY: what these libraries do when they are opened is what every program that uses CUDA has them do.
        match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => return Ok(library),
            // The first says most: it is what the system looked for.
            Err(error) if reason.is_empty() => {
                reason = error
                    .source()
                    .map_or_else(|| error.to_string(), ToString::to_string);
            }
            Err(_) => {}
        }
    }
    let name = name.to_owned();
    Err(Absent::Library { name, reason })
}

/// Where a library may be beside the folders of the system.
fn places(name: &str) -> impl Iterator<Item = PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let toolkits = [variable("CUDA_HOME"), Some("/usr/local/cuda".into())];
    let toolkits = toolkits
        .into_iter()
        .flatten()
        .map(|root| root.join("lib64"));
    let home = variable("HOME").map(|home| home.join(".rbee/cuda/nvidia"));
    // Since CUDA 13 packages share a folder; before, each had one.
    let package = name.trim_start_matches("lib").split(['.', 'L']).next();
    let package = package.unwrap_or_default().to_owned();
    let wheels = home.into_iter().flat_map(move |home| {
        [format!("cu{}", CUDA.0), package.clone()].map(|folder| home.join(folder).join("lib"))
    });
    let name = name.to_owned();
    toolkits.chain(wheels).map(move |folder| folder.join(&name))
}

/// Finds a function.
///
/// # Safety
/// `T` is the type of the function.
unsafe fn symbol<T>(library: &Library, name: &[u8]) -> Result<Symbol<T>, Absent> {
    // SAFETY: as the caller promises.
    unsafe { library.get(name) }.map_err(|error| Absent::Driver(error.to_string()))
}

/// Turns the driver's answer into an error that has its name.
fn succeeded(driver: &Library, code: c_int) -> Result<(), Absent> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the type of the function is that of `cuda.h`.
    let name = unsafe {
        symbol::<unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int>(
            driver,
            b"cuGetErrorName\0",
        )
    };
    let mut text = ptr::null();
    let text = match name {
        // SAFETY: the driver points to a constant text, or leaves the pointer null.
        Ok(name) if unsafe { name(code, &raw mut text) } == 0 && !text.is_null() => {
            unsafe { CStr::from_ptr(text) }
                .to_string_lossy()
                .into_owned()
        }
        _ => format!("error {code}"),
    };
    Err(Absent::Driver(text))
}
