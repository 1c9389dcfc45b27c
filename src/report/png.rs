//! A drawing as PNG, for programs that show no SVG.
//!
//! Owns the fonts: those of the system may lack letters, or not be there at all, so the pictures bring
//! DejaVu Sans with them. Knows nothing of what is drawn.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Turns drawings into pictures; the fonts are read once.
pub struct Rasterizer {
    options: Options<'static>,
}

impl Rasterizer {
    /// Reads the fonts.
    pub fn new() -> Rasterizer {
        let mut fonts = fontdb::Database::new();
        for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
            fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
        }
        fonts.set_sans_serif_family("DejaVu Sans");
        Rasterizer { options: Options { fontdb: Arc::new(fonts), ..Options::default() } }
    }

    /// The picture of an SVG, as the bytes of a PNG file.
    ///
    /// # Errors
    /// What the renderer says, in words.
    pub fn png(&self, svg: &str) -> Result<Vec<u8>, String> {
        let tree = Tree::from_str(svg, &self.options).map_err(|e| e.to_string())?;
        let size = tree.size().to_int_size();
        let mut pixels =
            Pixmap::new(size.width(), size.height()).ok_or("the picture has no size")?;
        resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
        pixels.encode_png().map_err(|e| e.to_string())
    }
}
