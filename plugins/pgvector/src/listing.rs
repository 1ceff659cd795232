//! The statements that list the candidates of a search.
//!
//! Under the table's own distance a row is `id, distance, meta`. Under a learned metric it is `id,
//! product, meta, mark, bias, numbers`: the product is the operator's of the table's distance with
//! the rewritten query (the rows are those nearest to [`Listing::target`]), and the numbers are those of the vector where the bias is missing or that of
//! another vector. Where they are to be asked for, they are empty.

use affinis::Distance;

use crate::relation::{Order, Relation};

/// What a statement lists.
pub(crate) struct Listing<'a> {
    pub(crate) relation: &'a Relation,
    /// The table's own distance.
    pub(crate) distance: Distance,
    /// What holds of every row that may be listed.
    pub(crate) conditions: String,
    /// The metadata that are listed, as text.
    pub(crate) meta: String,
    /// The parameter of the vector that the rows are nearest to (`real[]`).
    pub(crate) target: String,
    /// The order of the index.
    pub(crate) order: Order,
    pub(crate) limit: usize,
}

/// What ranks candidates under a learned metric.
pub(crate) struct Learned<'a> {
    /// The parameter of the rewritten query (`real[]`).
    pub(crate) direction: &'a str,
    /// Its length.
    pub(crate) norm: f64,
    /// The parameter of the probe.
    pub(crate) probe: &'a str,
    /// The table of the biases, where they are ready.
    pub(crate) side: Option<&'a str>,
}

impl Listing<'_> {
    /// The expression by which the index orders.
    fn by(&self) -> String {
        format!(
            "{} {} {}",
            self.relation.vector(),
            self.relation.operator(self.order),
            self.relation.as_vector(&self.target)
        )
    }

    /// Lists the nearest rows under the table's own distance.
    pub(crate) fn plain(&self) -> String {
        let (id, by, limit) = (self.relation.id(), self.by(), self.limit);
        if self.relation.parts.is_empty() {
            let (meta, conditions) = (&self.meta, &self.conditions);
            return format!(
                "SELECT {id}::text, ({by})::float8, {meta} FROM {} WHERE {conditions} ORDER BY {by} LIMIT {limit}",
                self.relation.table()
            );
        }
        let rows = self.of_parts(&format!("{id} AS id, ({by})::float8 AS d"));
        format!("SELECT c.id::text, c.d, c.meta FROM ({rows}) c ORDER BY c.d LIMIT {limit}")
    }

    /// Lists candidates of a learned metric.
    pub(crate) fn learned(&self, by: &Learned<'_>) -> String {
        if !self.relation.parts.is_empty() {
            self.learned_of_parts(by)
        } else if self.relation.orders.is_empty() {
            self.learned_by_scan(by)
        } else {
            let rows = self.rows();
            let Fields {
                product,
                mark,
                bias,
                join,
            } = self.fields(by);
            format!(
                "WITH c AS MATERIALIZED ({rows} ORDER BY {by} LIMIT {limit}) \
                 SELECT c.id::text, {product}, c.meta, {mark}, {bias} FROM c {join}",
                by = self.by(),
                limit = self.limit
            )
        }
    }

    /// The same without an index. Every row is looked at, so that the distance itself is the order.
    fn learned_by_scan(&self, by: &Learned<'_>) -> String {
        let rows = self.rows();
        let Fields {
            product,
            mark,
            bias,
            join,
        } = self.fields(by);
        // A bias that is not there is about the square of the length.
        let (scaled, square) = if self.distance == Distance::Cosine {
            (format!("{}::float8 * {product}", by.norm), "1".to_owned())
        } else {
            let ip = self.relation.operator(Order::InnerProduct);
            (product.clone(), format!("-(c.v {ip} c.v)"))
        };
        let bias_term = if by.side.is_some() {
            format!("coalesce(CASE WHEN b.mark = {mark} THEN b.bias END, {square})")
        } else {
            square
        };
        format!(
            "SELECT c.id::text, {product}, c.meta, {mark}, {bias} FROM ({rows}) c {join} \
             ORDER BY 2 * {scaled} + {bias_term} LIMIT {limit}",
            limit = self.limit
        )
    }

    /// The same of tables on other servers, whose limits these are told.
    fn learned_of_parts(&self, by: &Learned<'_>) -> String {
        let vector = self.relation.vector();
        let rows = self.of_parts(&format!(
            "{id} AS id, {product} AS product, {mark} AS mark",
            id = self.relation.id(),
            product = self.product(&vector, by.direction),
            mark = self.mark(&vector, by.probe),
        ));
        let (bias, join) = match by.side {
            Some(side) => (
                "b.bias, CASE WHEN b.mark IS DISTINCT FROM c.mark THEN '{}'::real[] END",
                format!("LEFT JOIN {side} b ON b.id = c.id"),
            ),
            None => ("NULL::real, '{}'::real[]", String::new()),
        };
        format!(
            "WITH c AS MATERIALIZED ({rows}) \
             SELECT c.id::text, c.product, c.meta, c.mark, {bias} FROM c {join}"
        )
    }

    /// The nearest rows of each part, with these columns and the metadata. The limit is a number,
    /// not a parameter, so that the other servers are told it.
    fn of_parts(&self, columns: &str) -> String {
        let (meta, conditions) = (&self.meta, &self.conditions);
        let (by, limit) = (self.by(), self.limit);
        let part = |part: &String| {
            format!(
                "(SELECT {columns}, {meta} AS meta FROM {part} WHERE {conditions} ORDER BY {by} LIMIT {limit})"
            )
        };
        let parts: Vec<String> = self.relation.parts.iter().map(part).collect();
        parts.join(" UNION ALL ")
    }

    /// The rows that may be listed, with their vectors as `v`.
    fn rows(&self) -> String {
        format!(
            "SELECT {} AS id, {} AS v, {} AS meta FROM {} WHERE {}",
            self.relation.id(),
            self.relation.vector(),
            self.meta,
            self.relation.table(),
            self.conditions
        )
    }

    /// The product of a vector with the rewritten query: candidates are found in the precision of the column,
    /// and ranked in full.
    fn product(&self, vector: &str, direction: &str) -> String {
        let order = match self.distance {
            Distance::Cosine => Order::Cosine,
            _ => Order::InnerProduct,
        };
        format!(
            "({} {} {})::float8",
            self.relation.as_full(vector),
            self.relation.operator(order),
            self.relation.as_full(&format!("{direction}::real[]"))
        )
    }

    /// The mark of a vector.
    fn mark(&self, vector: &str, probe: &str) -> String {
        format!(
            "({vector} {} {})::float8",
            self.relation.operator(Order::InnerProduct),
            self.relation.as_vector(probe)
        )
    }

    /// What is asked of the rows `c` of [`Self::rows`].
    fn fields(&self, by: &Learned<'_>) -> Fields {
        let product = self.product("c.v", by.direction);
        let mark = self.mark("c.v", by.probe);
        let numbers = self.relation.as_numbers("c.v");
        let (bias, join) = match by.side {
            Some(side) => (
                format!("b.bias, CASE WHEN b.mark IS DISTINCT FROM {mark} THEN {numbers} END"),
                format!("LEFT JOIN {side} b ON b.id = c.id"),
            ),
            None => (format!("NULL::real, {numbers}"), String::new()),
        };
        Fields {
            product,
            mark,
            bias,
            join,
        }
    }
}

/// Expressions on a row `c`.
struct Fields {
    product: String,
    mark: String,
    /// The bias and the numbers.
    bias: String,
    /// The join with the table of the biases.
    join: String,
}
