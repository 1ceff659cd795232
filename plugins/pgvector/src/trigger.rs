//! The trigger that keeps biases up to date, where it was asked for.
//!
//! Without it a bias of a row that came later is computed at the first search that lists the row.
//! With it the database computes the bias as the row is written, `b(x) = x . Ax`, by pgvector's own
//! operators, from the rows of `A` in the table `affinis.matrices`.

use std::sync::Arc;

use affinis::engine::Versioned;
use affinis::{Distance, MetricChoice, Result, VersionId};
use ndarray::Array2;
use tokio_postgres::types::Type;

use crate::attached::Attached;
use crate::error::During;
use crate::relation::Order;
use crate::scan::array_text;
use crate::schema::{Parameter, identifier, literal};
use crate::server::Transaction;
use crate::table::Table;

/// Largest difference of a bias that is computed from a matrix, relative to its size.
const EXACT: f32 = 1e-3;

/// The function of the trigger of a collection.
fn function(collection: i32) -> String {
    format!("affinis.{}", identifier(&format!("keep_bias_{collection}")))
}

impl Table {
    /// Makes a trigger on the table that computes the biases of rows as they are written, under
    /// every version that is ready. Without one nothing of the table is altered, and biases are
    /// computed at the first search that lists a row. [`Postgres::detach`](crate::Postgres::detach) removes it.
    ///
    /// A row then takes `d` products of vectors longer to write for each version that is ready.
    ///
    /// # Errors
    /// Those of the server, such as for a role that may not make triggers on the table.
    pub fn create_trigger(&self) -> Result<()> {
        let attached = Arc::clone(self.attached());
        let postgres = &self.attached().postgres;
        let versions = postgres.wait(async move { attached.create_trigger().await })?;
        for version in versions {
            let metric = self
                .learning()
                .choose(MetricChoice::Version(version), None)?;
            let attached = Arc::clone(self.attached());
            postgres.wait(async move {
                let transaction = attached.postgres.begin().await?;
                attached.write_matrix(&transaction, &metric).await?;
                transaction.commit().await
            })?;
        }
        Ok(())
    }
}

impl Attached {
    /// Makes the trigger. Gives the versions whose biases are there.
    async fn create_trigger(&self) -> Result<Vec<VersionId>> {
        let during = format!(
            "no trigger can be made on the table {}",
            self.relation.table()
        );
        let transaction = self.postgres.begin().await?;
        let connection = transaction.connection()?;
        let (function, table) = (function(self.collection), self.relation.table());
        let trigger = identifier(&format!("affinis_{}", self.collection));
        let create = format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = pg_catalog, pg_temp AS {body}; \
             CREATE OR REPLACE TRIGGER {trigger} AFTER INSERT OR DELETE OR UPDATE OF {id}, {vector} ON {table} \
             FOR EACH ROW EXECUTE FUNCTION {function}(); \
             UPDATE affinis.collections SET has_trigger = true WHERE id = {number}",
            body = literal(&self.body()),
            id = self.relation.id(),
            vector = self.relation.vector(),
            number = self.collection,
        );
        connection.batch_execute(&create).await.during(&during)?;
        let versions = "SELECT version FROM affinis.biases WHERE collection = $1";
        let of: Parameter<'_> = (&self.collection, Type::INT4);
        let rows = connection.query_typed(versions, &[of]).await;
        let versions = rows.during(&during)?;
        transaction.commit().await?;
        let number = |row: &tokio_postgres::Row| u32::try_from(row.get::<_, i64>(0)).ok();
        Ok(versions.iter().filter_map(number).map(VersionId).collect())
    }

    /// What the trigger runs.
    fn body(&self) -> String {
        let relation = &self.relation;
        let new = format!("NEW.{}", relation.vector());
        let full = relation.full_type();
        let prepared = match self.rules.distance {
            Distance::Cosine => relation.function("l2_normalize", &relation.as_full(&new)),
            _ => relation.as_full(&new),
        };
        format!(
            "DECLARE
    kept bigint;
    item {full};
    image {full};
BEGIN
    FOR kept IN SELECT version FROM affinis.biases WHERE collection = {number} AND done LOOP
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                EXECUTE format('DELETE FROM affinis.%I WHERE id = $1', 'bias_{number}_' || kept) USING OLD.{id};
            END IF;
            IF TG_OP <> 'DELETE' AND {new} IS NOT NULL AND {dims} = {dim} THEN
                item := {prepared};
                SELECT array_agg(-(item {ip} m.numbers::{full}) ORDER BY m.number)::real[]::{full} INTO image
                    FROM affinis.matrices m WHERE m.collection = {number} AND m.version = kept;
                IF image IS NOT NULL THEN
                    EXECUTE format('INSERT INTO affinis.%I (id, bias, mark) VALUES ($1, $2, $3) \
                        ON CONFLICT (id) DO UPDATE SET bias = EXCLUDED.bias, mark = EXCLUDED.mark',
                        'bias_{number}_' || kept)
                        USING NEW.{id}, (-(item {ip} image))::real, ({new} {ip} {probe})::float8;
                END IF;
            END IF;
        EXCEPTION WHEN undefined_table THEN
            -- A client has just removed the biases of this version.
            NULL;
        END;
    END LOOP;
    RETURN NULL;
END",
            number = self.collection,
            id = relation.id(),
            dims = relation.function("vector_dims", &new),
            dim = self.rules.dim,
            ip = relation.operator(Order::InnerProduct),
            probe = relation.as_vector(&literal(&array_text(&self.probe))),
        )
    }

    /// Writes the matrix of a version for the trigger, if the table has one.
    pub(crate) async fn write_matrix(
        &self,
        transaction: &Transaction,
        metric: &Versioned,
    ) -> Result<()> {
        let during = "the matrix of a version cannot be written";
        let connection = transaction.connection()?;
        let asked = "SELECT has_trigger FROM affinis.collections WHERE id = $1";
        let of: Parameter<'_> = (&self.collection, Type::INT4);
        let rows = connection.query_typed(asked, &[of]).await.during(during)?;
        if !rows.first().is_some_and(|row| row.get(0)) {
            return Ok(());
        }
        let Some(matrix) = self.matrix(metric) else {
            return Ok(());
        };
        let insert = "INSERT INTO affinis.matrices \
            SELECT $1, $2, number, ($3::real[])[number * $4 + 1 : (number + 1) * $4] \
            FROM generate_series(0, $4 - 1) AS number ON CONFLICT DO NOTHING";
        let numbers: Vec<f32> = matrix.iter().copied().collect();
        let (version, dim) = (i64::from(metric.version.0), self.rules.dim as i32);
        let parameters: [Parameter<'_>; 4] = [
            (&self.collection, Type::INT4),
            (&version, Type::INT8),
            (&numbers, Type::FLOAT4_ARRAY),
            (&dim, Type::INT4),
        ];
        connection
            .execute_typed(insert, &parameters)
            .await
            .during(during)?;
        Ok(())
    }

    /// The matrix `A` of a metric (`d x d`), where its biases are `x . Ax`.
    fn matrix(&self, metric: &Versioned) -> Option<Array2<f32>> {
        let dim = self.rules.dim;
        let mut matrix = Array2::zeros((dim, dim));
        let mut unit = vec![0.0; dim];
        for (at, mut row) in matrix.outer_iter_mut().enumerate() {
            unit[at] = 1.0;
            let image = metric.metric.rewrite(&unit).direction;
            row.iter_mut().zip(image).for_each(|(to, x)| *to = x);
            unit[at] = 0.0;
        }
        let probe = Array2::from_shape_vec((1, dim), self.probe.clone()).ok()?;
        let mut bias = [0.0];
        metric.metric.biases(probe.view(), &mut bias);
        let by_matrix = probe.row(0).dot(&matrix.dot(&probe.row(0)));
        ((by_matrix - bias[0]).abs() <= EXACT * bias[0].abs()).then_some(matrix)
    }
}

/// The statement that removes the trigger of a collection, if it has one.
pub(crate) fn drop_of(collection: i32) -> String {
    format!("DROP FUNCTION IF EXISTS {}() CASCADE", function(collection))
}
