// The loops over neighbours, as SymmetryFunctions calls them: from the table of one atom to its
// features and, in the workspace, the derivatives that `contract` needs.
#pragma once

#include "neighbor_table.hpp"
#include "symmetry_plan.hpp"

namespace nearsight {

using Workspace = SymmetryFunctions::Workspace;

// G2 of one species of neighbours, in the slots from `first` to `last`.
template <bool Derivatives>
void add_radial(const RadialPlan& plan, const NeighborTable& table, Index first, Index last,
                Workspace& work);

// Sums over pairs of neighbours of a central species, for every j and over j: by a loop over pairs.
template <bool Derivatives>
void add_angular(const SymmetryPlan& plan, const CenterPlan& center, const NeighborTable& table,
                 Workspace& work);

// The same of those G5 that are made of moments.
template <bool Derivatives>
void add_moments(const SymmetryPlan& plan, const CenterPlan& center, const NeighborTable& table,
                 Workspace& work);

}  // namespace nearsight
