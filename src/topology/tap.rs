//! Samples of the books that pass a node.

use gopherworks_pipeline::__private::TapReader;

use super::running::RunningTopology;

impl RunningTopology {
    /// Samples the books that pass a pile, a dump, a crew, a relay or an incinerator, until the
    /// reader is dropped. `None` for other nodes, which pass none or are shown with their crew.
    pub(crate) fn tap(&self, node: &str, contents: bool) -> Option<TapReader> {
        let inner = self.inner();
        let nodes = inner.nodes();
        let passes = nodes.piles.iter().any(|pile| pile.name == node)
            || nodes.crews.iter().any(|crew| crew.name == node)
            || nodes.incinerators.iter().any(|fire| fire.name == node);
        passes.then(|| inner.context.taps.open(node, contents))
    }
}
