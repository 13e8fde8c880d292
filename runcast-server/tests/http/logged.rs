//! What the server logs, kept: of all its threads, and of those of tests beside this one.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
pub(crate) struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Keeps what is logged from now on.
    pub(crate) fn begin() -> Self {
        static LOGGED: LazyLock<Logged> = LazyLock::new(|| {
            let logged = Logged::default();
            let subscriber = tracing_subscriber::fmt().with_writer(logged.clone());
            let subscriber = subscriber.with_ansi(false).finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
            logged
        });
        LOGGED.clone()
    }

    /// The lines that have all these texts.
    pub(crate) fn lines(&self, texts: &[&str]) -> Vec<String> {
        let logged = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let has_all = |line: &&str| texts.iter().all(|text| line.contains(text));
        logged.lines().filter(has_all).map(ToOwned::to_owned).collect()
    }
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logged {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
